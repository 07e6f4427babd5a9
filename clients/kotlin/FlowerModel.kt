// The bundled model on Android, with com.microsoft.onnxruntime:onnxruntime-android; see docs/mobile.md.

import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import android.content.res.AssetManager
import java.nio.ByteBuffer
import org.json.JSONObject

class FlowerModel(assets: AssetManager) : AutoCloseable {
    private val environment = OrtEnvironment.getEnvironment()
    private val session = environment.createSession(
        assets.open("tf_efficientnet_lite2-int8.onnx").use { it.readBytes() }
    )
    val metadata = JSONObject(session.metadata.customMetadata.getValue("petalscope"))

    fun logits(pixels: ByteBuffer): FloatArray {       // a direct buffer of 288×288×3 bytes, RGB
        val shape = longArrayOf(1, 288, 288, 3)
        OnnxTensor.createTensor(environment, pixels, shape, OnnxJavaType.UINT8).use { input ->
            session.run(mapOf("images" to input), setOf("logits")).use { result ->
                @Suppress("UNCHECKED_CAST")
                return (result[0].value as Array<FloatArray>)[0]
            }
        }
    }

    override fun close() = session.close()
}
