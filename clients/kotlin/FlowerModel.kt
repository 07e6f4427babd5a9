// The bundled model on Android, with com.microsoft.onnxruntime:onnxruntime-android; see docs/mobile.md.

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import android.content.res.AssetManager
import java.nio.FloatBuffer
import org.json.JSONObject

class FlowerModel(assets: AssetManager) : AutoCloseable {
    private val environment = OrtEnvironment.getEnvironment()
    private val session = environment.createSession(
        assets.open("tf_efficientnet_lite2.onnx").use { it.readBytes() }
    )
    val metadata = JSONObject(session.metadata.customMetadata.getValue("petalscope"))

    fun logits(pixels: FloatBuffer): FloatArray {      // 3×288×288, normalised as above
        val shape = longArrayOf(1, 3, 288, 288)
        OnnxTensor.createTensor(environment, pixels, shape).use { input ->
            session.run(mapOf("images" to input), setOf("logits")).use { result ->
                @Suppress("UNCHECKED_CAST")
                return (result[0].value as Array<FloatArray>)[0]
            }
        }
    }

    override fun close() = session.close()
}
