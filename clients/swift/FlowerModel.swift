// The bundled model on iOS, with onnxruntime-swift-package-manager; see docs/mobile.md.

import Foundation
import OnnxRuntimeBindings

let environment = try ORTEnv(loggingLevel: .warning)
let session = try ORTSession(env: environment, modelPath: modelPath, sessionOptions: nil)

func logits(pixels: [UInt8]) throws -> [Float] {       // 288×288×3 bytes, RGB
    let data = NSMutableData(bytes: pixels, length: pixels.count)
    let input = try ORTValue(tensorData: data, elementType: .uInt8, shape: [1, 288, 288, 3])
    let result = try session.run(
        withInputs: ["images": input], outputNames: ["logits"], runOptions: nil
    )
    return try withExtendedLifetime(result) {          // tensorData() does not copy
        try (result["logits"]!.tensorData() as Data).withUnsafeBytes {
            Array($0.bindMemory(to: Float.self))
        }
    }
}
