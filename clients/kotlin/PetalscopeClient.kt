// Petalscope's API with OkHttp.

import java.io.IOException
import okhttp3.MediaType.Companion.toMediaType
import okhttp3.OkHttpClient
import okhttp3.Request
import okhttp3.RequestBody.Companion.toRequestBody
import org.json.JSONObject

fun nameFlower(client: OkHttpClient, jpeg: ByteArray): List<Pair<String, Double>> {
    val request = Request.Builder()
        .url("http://localhost:8000/predict")
        .post(jpeg.toRequestBody("image/jpeg".toMediaType()))
        .build()
    client.newCall(request).execute().use { response ->
        val answer = JSONObject(response.body!!.string())
        if (!response.isSuccessful) throw IOException(answer.getString("detail"))
        val predictions = answer.getJSONArray("predictions")
        return (0 until predictions.length()).map {
            val flower = predictions.getJSONObject(it)
            flower.getString("name") to flower.getDouble("probability")
        }
    }
}
