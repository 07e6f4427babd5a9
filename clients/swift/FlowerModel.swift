// The bundled model on iOS 13 and newer, with onnxruntime-swift-package-manager; see docs/mobile.md.
// `try FlowerModel(modelPath: path, metadata: json).classify(photo)` with the bytes of a photo's file

import CoreGraphics
import Foundation
import ImageIO
import OnnxRuntimeBindings

struct Prediction {
    let classID: String
    let name: String
    let probability: Float
}

/// `verdict` is known, unsure, unknown, or unchecked without an OOD rule.
struct Classification {
    let predictions: [Prediction]
    let verdict: String
    let score: Float?
}

/// The part of the metadata that an app needs; docs/mobile.md says how to get the JSON.
struct Metadata: Decodable {
    struct FlowerClass: Decodable {
        let class_id: String
        let name: String
    }
    struct Transform: Decodable {
        let resize: Int
        let crop: Int
    }
    struct OodRule: Decodable {
        let score: String
        let threshold: Double
        let logit_adjustment: [Float]?
        let known_probability: Double?
    }
    let classes: [FlowerClass]
    let transform: Transform
    let temperature: Double
    let ood_rule: OodRule?
}

enum FlowerModelError: Error {
    case damagedPhoto
    case unknownScore(String)
    case noLogits
}

/// Use one at a time from a background queue: a photo takes tens of milliseconds.
final class FlowerModel {
    let metadata: Metadata
    private let environment: ORTEnv
    private let session: ORTSession

    init(modelPath: String, metadata: Data) throws {
        self.metadata = try JSONDecoder().decode(Metadata.self, from: metadata)
        environment = try ORTEnv(loggingLevel: .warning)
        session = try ORTSession(env: environment, modelPath: modelPath, sessionOptions: nil)
    }

    func classify(_ photo: Data, topK: Int = 5) throws -> Classification {
        let pixels = try Pixels(photo)
        let transform = metadata.transform
        let input = networkInput(pixels, resize: transform.resize, crop: transform.crop)
        return try result(try logits(input, side: transform.crop), topK: topK)
    }

    /// `input` holds side × side × 3 bytes, RGB; the graph normalizes them.
    func logits(_ input: [UInt8], side: Int) throws -> [Float] {
        let data = NSMutableData(bytes: input, length: input.count)
        let shape = [1, side, side, 3].map { NSNumber(value: $0) }
        let images = try ORTValue(tensorData: data, elementType: .uInt8, shape: shape)
        let outputs = try session.run(
            withInputs: ["images": images], outputNames: ["logits"], runOptions: nil
        )
        guard let logits = outputs["logits"] else { throw FlowerModelError.noLogits }
        return try withExtendedLifetime(outputs) {     // tensorData() does not copy
            try (logits.tensorData() as Data).withUnsafeBytes {
                Array($0.bindMemory(to: Float.self))
            }
        }
    }

    private func result(_ logits: [Float], topK: Int) throws -> Classification {
        let probabilities = softmax(logits, temperature: metadata.temperature)
        let order = probabilities.indices.sorted {
            (probabilities[$0], $1) > (probabilities[$1], $0)     // ties keep their order
        }
        let predictions = order.prefix(topK).map { index -> Prediction in
            let item = metadata.classes[index]
            return Prediction(
                classID: item.class_id, name: item.name, probability: probabilities[index]
            )
        }
        guard let rule = metadata.ood_rule else {
            return Classification(predictions: predictions, verdict: "unchecked", score: nil)
        }
        var adjusted = logits
        for (index, value) in (rule.logit_adjustment ?? []).enumerated() { adjusted[index] -= value }
        let score = try oodScore(rule.score, adjusted, temperature: metadata.temperature)
        let isSure = Double(predictions[0].probability) >= rule.known_probability ?? 0.5
        let verdict = Double(score) < rule.threshold ? "unknown" : isSure ? "known" : "unsure"
        return Classification(predictions: predictions, verdict: verdict, score: score)
    }
}

func softmax(_ logits: [Float], temperature: Double) -> [Float] {
    let scaled = logits.map { Double($0) / temperature }
    let largest = scaled.max() ?? 0
    let exponents = scaled.map { exp($0 - largest) }
    let sum = exponents.reduce(0, +)
    return exponents.map { Float($0 / sum) }
}

func oodScore(_ name: String, _ adjusted: [Float], temperature: Double) throws -> Float {
    let scaled = adjusted.map { Double($0) / temperature }
    let largest = scaled.max() ?? 0
    let energy = largest + log(scaled.map { exp($0 - largest) }.reduce(0, +))
    switch name {
    case "probability": return Float(largest - energy)
    case "max_logit": return Float(largest)
    case "energy": return Float(energy)
    case "contrast": return Float(largest - scaled.reduce(0, +) / Double(scaled.count))
    default: throw FlowerModelError.unknownScore(name)
    }
}

/// Upright pixels in sRGB on white: RGBX, four bytes each.
struct Pixels {
    let width: Int
    let height: Int
    let bytes: [UInt8]

    /// Throws `damagedPhoto` if the file cannot be decoded.
    init(_ file: Data) throws {
        let options: [CFString: Any] = [
            kCGImageSourceCreateThumbnailFromImageAlways: true,
            kCGImageSourceCreateThumbnailWithTransform: true,     // turns by the EXIF orientation
            kCGImageSourceThumbnailMaxPixelSize: 100_000,     // full size
        ]
        guard
            let source = CGImageSourceCreateWithData(file as CFData, nil),
            let image = CGImageSourceCreateThumbnailAtIndex(source, 0, options as CFDictionary),
            let space = CGColorSpace(name: CGColorSpace.sRGB)
        else { throw FlowerModelError.damagedPhoto }
        let (width, height) = (image.width, image.height)
        var bytes = [UInt8](repeating: 255, count: 4 * width * height)
        let isDrawn = bytes.withUnsafeMutableBytes { buffer -> Bool in
            guard
                let context = CGContext(
                    data: buffer.baseAddress, width: width, height: height, bitsPerComponent: 8,
                    bytesPerRow: 4 * width, space: space,
                    bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue
                )
            else { return false }
            context.draw(image, in: CGRect(x: 0, y: 0, width: width, height: height))
            return true
        }
        guard isDrawn else { throw FlowerModelError.damagedPhoto }
        (self.width, self.height, self.bytes) = (width, height, bytes)
    }
}

/// The evaluation transform: shorter side to `resize`, antialiased bicubic, central `crop` square, RGB.
func networkInput(_ photo: Pixels, resize: Int, crop: Int) -> [UInt8] {
    // Pixels outside the central 4:1 never reach the crop.
    let (longer, shorter) = (max(photo.width, photo.height), min(photo.width, photo.height))
    let cut = max(0, (longer - 4 * shorter) / 2)
    let (x, y) = photo.width > photo.height ? (cut, 0) : (0, cut)
    let (width, height) = (photo.width - 2 * x, photo.height - 2 * y)

    func weights(_ length: Int) -> Weights {
        let resized = (Double(resize * length) / Double(shorter)).rounded(.down)
        let scale = Double(length) / resized
        let start = ((resized - Double(crop)) / 2).rounded(.toNearestOrEven) * scale
        return Weights(length: length, start: start, scale: scale, size: crop)
    }

    let (columns, rows) = (weights(width), weights(height))
    let first = rows.first[0]
    let count = rows.first[crop - 1] + rows.weights[crop - 1].count - first
    var narrow = [UInt8](repeating: 0, count: 3 * crop * count)
    for row in 0..<count {
        let start = (y + first + row) * photo.width + x
        for i in 0..<crop {
            for channel in 0..<3 {
                narrow[(row * crop + i) * 3 + channel] = columns.sum(i) {
                    photo.bytes[4 * (start + $0) + channel]
                }
            }
        }
    }
    var input = [UInt8](repeating: 0, count: 3 * crop * crop)
    for i in 0..<crop {
        for at in 0..<(3 * crop) {
            input[i * 3 * crop + at] = rows.sum(i) { narrow[($0 - first) * 3 * crop + at] }
        }
    }
    return input
}

/// Weights of an antialiased bicubic filter (a = -0.5), integers of 22 bits as the service's.
struct Weights {
    private(set) var first: [Int] = []
    private(set) var weights: [[Int32]] = []

    init(length: Int, start: Double, scale: Double, size: Int) {
        let stretch = max(scale, 1)
        for i in 0..<size {
            let center = start + (Double(i) + 0.5) * scale
            let from = max(0, Int(center - 2 * stretch + 0.5))
            let to = min(length, Int(center + 2 * stretch + 0.5))
            let values = (from..<to).map { Self.cubic((Double($0) - center + 0.5) / stretch) }
            let sum = values.reduce(0, +)
            first.append(from)
            weights.append(values.map { Int32(($0 / sum * Double(1 << 22)).rounded()) })
        }
    }

    func sum(_ output: Int, _ sample: (Int) -> UInt8) -> UInt8 {
        var sum: Int32 = 1 << 21
        for (i, weight) in weights[output].enumerated() {
            sum += weight * Int32(sample(first[output] + i))
        }
        return UInt8(min(255, max(0, sum >> 22)))
    }

    private static func cubic(_ x: Double) -> Double {
        let distance = abs(x)
        if distance < 1 { return (1.5 * distance - 2.5) * distance * distance + 1 }
        if distance < 2 { return (((distance - 5) * distance + 8) * distance - 4) * -0.5 }
        return 0
    }
}
