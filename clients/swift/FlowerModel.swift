// The bundled model on iOS, with onnxruntime-swift-package-manager; see docs/mobile.md.

import Foundation
import OnnxRuntimeBindings

let environment = try ORTEnv(loggingLevel: .warning)
let session = try ORTSession(env: environment, modelPath: modelPath, sessionOptions: nil)

func logits(pixels: [Float]) throws -> [Float] {       // 3×288×288, normalised as above
    let data = NSMutableData(bytes: pixels, length: pixels.count * MemoryLayout<Float>.size)
    let input = try ORTValue(tensorData: data, elementType: .float, shape: [1, 3, 288, 288])
    let result = try session.run(
        withInputs: ["images": input], outputNames: ["logits"], runOptions: nil
    )
    return try withExtendedLifetime(result) {          // tensorData() does not copy
        try (result["logits"]!.tensorData() as Data).withUnsafeBytes {
            Array($0.bindMemory(to: Float.self))
        }
    }
}
