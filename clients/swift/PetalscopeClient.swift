// Petalscope's API with URLSession.

import Foundation

struct Answer: Decodable {
    struct Prediction: Decodable { let class_id: String; let name: String; let probability: Double }
    let predictions: [Prediction]
}

func nameFlower(jpeg: Data) async throws -> [Answer.Prediction] {
    var request = URLRequest(url: URL(string: "http://localhost:8000/predict")!)
    request.httpMethod = "POST"
    request.setValue("image/jpeg", forHTTPHeaderField: "Content-Type")
    let (data, response) = try await URLSession.shared.upload(for: request, from: jpeg)
    guard (response as? HTTPURLResponse)?.statusCode == 200 else { throw URLError(.badServerResponse) }
    return try JSONDecoder().decode(Answer.self, from: data).predictions
}
