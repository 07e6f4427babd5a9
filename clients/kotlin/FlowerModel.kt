// The bundled model on Android 9 (API 28) and newer, with com.microsoft.onnxruntime:onnxruntime-android;
// see docs/mobile.md. `FlowerModel(assets).classify(ImageDecoder.createSource(contentResolver, uri))`

import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import android.content.res.AssetManager
import android.graphics.Bitmap
import android.graphics.ColorSpace
import android.graphics.ImageDecoder
import java.nio.ByteBuffer
import kotlin.math.abs
import kotlin.math.ceil
import kotlin.math.exp
import kotlin.math.floor
import kotlin.math.ln
import kotlin.math.max
import kotlin.math.min
import kotlin.math.round
import org.json.JSONObject

data class Prediction(val classId: String, val name: String, val probability: Float)

/** `verdict` is known, unsure, unknown, or unchecked without an OOD rule. */
data class Classification(val predictions: List<Prediction>, val verdict: String, val score: Float?)

/** Use one at a time from a background thread: a photo takes tens of milliseconds. */
class FlowerModel(assets: AssetManager) : AutoCloseable {
    private val environment = OrtEnvironment.getEnvironment()
    private val session = environment.createSession(
        assets.open("tf_efficientnet_lite2-int8.onnx").use { it.readBytes() }
    )
    val metadata = JSONObject(session.metadata.customMetadata.getValue("petalscope"))

    /** Throws ImageDecoder.DecodeException if the photo is damaged or of an unknown format. */
    fun classify(photo: ImageDecoder.Source, topK: Int = 5): Classification {
        val transform = metadata.getJSONObject("transform")
        val input = networkInput(
            pixelsOf(decode(photo)), transform.getInt("resize"), transform.getInt("crop")
        )
        return result(logits(input, transform.getInt("crop")), topK)
    }

    /** `input` holds side × side × 3 bytes, RGB; the graph normalizes them. */
    fun logits(input: ByteArray, side: Int): FloatArray {
        val buffer = ByteBuffer.allocateDirect(input.size).put(input).apply { rewind() }
        val shape = longArrayOf(1, side.toLong(), side.toLong(), 3)
        OnnxTensor.createTensor(environment, buffer, shape, OnnxJavaType.UINT8).use { images ->
            session.run(mapOf("images" to images), setOf("logits")).use { result ->
                @Suppress("UNCHECKED_CAST")
                return (result[0].value as Array<FloatArray>)[0]
            }
        }
    }

    private fun result(logits: FloatArray, topK: Int): Classification {
        val classes = metadata.getJSONArray("classes")
        val temperature = metadata.getDouble("temperature")
        val probabilities = softmax(logits, temperature)
        val predictions = probabilities.indices.sortedByDescending { probabilities[it] }.take(topK).map {
            val item = classes.getJSONObject(it)
            Prediction(item.getString("class_id"), item.getString("name"), probabilities[it])
        }
        val rule = metadata.optJSONObject("ood_rule")
            ?: return Classification(predictions, "unchecked", null)
        val adjustment = rule.optJSONArray("logit_adjustment")
        val adjusted = FloatArray(logits.size) { logits[it] - (adjustment?.optDouble(it, 0.0) ?: 0.0).toFloat() }
        val score = oodScore(rule.getString("score"), adjusted, temperature)
        val verdict = when {
            score < rule.getDouble("threshold") -> "unknown"
            predictions[0].probability >= rule.optDouble("known_probability", 0.5) -> "known"
            else -> "unsure"
        }
        return Classification(predictions, verdict, score)
    }

    override fun close() = session.close()
}

/** Upright pixels in RGBA order, a byte each, on white. */
class Pixels(val width: Int, val height: Int, val row: (Int) -> IntArray)

/** ImageDecoder turns a photo by its EXIF orientation. */
private fun decode(photo: ImageDecoder.Source): Bitmap =
    ImageDecoder.decodeBitmap(photo) { decoder, _, _ ->
        decoder.allocator = ImageDecoder.ALLOCATOR_SOFTWARE // getPixels needs it
        decoder.setTargetColorSpace(ColorSpace.get(ColorSpace.Named.SRGB))
    }

private fun pixelsOf(bitmap: Bitmap) = Pixels(bitmap.width, bitmap.height) { y ->
    IntArray(bitmap.width).also { bitmap.getPixels(it, 0, bitmap.width, 0, y, bitmap.width, 1) }
}

fun softmax(logits: FloatArray, temperature: Double): FloatArray {
    val largest = logits.max() / temperature
    val exponents = logits.map { exp(it / temperature - largest) }
    val sum = exponents.sum()
    return FloatArray(logits.size) { (exponents[it] / sum).toFloat() }
}

fun oodScore(name: String, adjusted: FloatArray, temperature: Double): Float {
    val scaled = adjusted.map { it / temperature }
    val largest = scaled.max()
    val energy = largest + ln(scaled.sumOf { exp(it - largest) })
    return when (name) {
        "probability" -> largest - energy
        "max_logit" -> largest
        "energy" -> energy
        "contrast" -> largest - scaled.average()
        else -> throw IllegalArgumentException("The OOD score $name is unknown.")
    }.toFloat()
}

/** The evaluation transform: shorter side to `resize`, antialiased bicubic, central `crop` square, RGB. */
fun networkInput(photo: Pixels, resize: Int, crop: Int): ByteArray {
    // Pixels outside the central 4:1 never reach the crop.
    val cut = max(0, (max(photo.width, photo.height) - 4 * min(photo.width, photo.height)) / 2)
    val x = if (photo.width > photo.height) cut else 0
    val y = if (photo.width > photo.height) 0 else cut
    val width = photo.width - 2 * x
    val height = photo.height - 2 * y
    val shorter = min(width, height).toDouble()
    val across = width / floor(resize * width / shorter)
    val down = height / floor(resize * height / shorter)
    val left = round((floor(resize * width / shorter) - crop) / 2) * across
    val top = round((floor(resize * height / shorter) - crop) / 2) * down
    val columns = Weights(width, left, left + crop * across, crop)
    val rows = Weights(height, top, top + crop * down, crop)
    val first = rows.first[0]
    val narrow = Array(rows.first[crop - 1] + rows.weights[crop - 1].size - first) { row ->
        val pixels = photo.row(y + first + row)
        IntArray(3 * crop) { at ->
            columns.sum(at / 3) { onWhite(pixels[x + it], 16 - 8 * (at % 3)) }
        }
    }
    return ByteArray(3 * crop * crop) { at ->
        rows.sum(at / (3 * crop)) { narrow[it - first][at % (3 * crop)] }.toByte()
    }
}

/** One channel of an ARGB pixel. */
private fun onWhite(pixel: Int, shift: Int): Int {
    val alpha = pixel ushr 24
    return ((pixel ushr shift and 255) * alpha + 255 * (255 - alpha)) / 255
}

/** Weights of an antialiased bicubic filter (a = -0.5), integers of 22 bits as the service's. */
private class Weights(length: Int, start: Double, end: Double, size: Int) {
    val first = IntArray(size)
    val weights: Array<IntArray>

    init {
        val scale = (end - start) / size
        val stretch = max(scale, 1.0)
        weights = Array(size) { i ->
            val center = start + (i + 0.5) * scale
            first[i] = max(0, (center - 2 * stretch + 0.5).toInt())
            val last = min(length, (center + 2 * stretch + 0.5).toInt())
            val values = DoubleArray(last - first[i]) { cubic((first[i] + it - center + 0.5) / stretch) }
            val sum = values.sum()
            IntArray(values.size) { round(values[it] / sum * (1 shl 22)).toInt() }
        }
    }

    inline fun sum(output: Int, sample: (Int) -> Int): Int {
        var sum = 1 shl 21
        weights[output].forEachIndexed { i, weight -> sum += weight * sample(first[output] + i) }
        return (sum shr 22).coerceIn(0, 255)
    }

    private fun cubic(x: Double): Double {
        val distance = abs(x)
        return when {
            distance < 1 -> (1.5 * distance - 2.5) * distance * distance + 1
            distance < 2 -> (((distance - 5) * distance + 8) * distance - 4) * -0.5
            else -> 0.0
        }
    }
}
