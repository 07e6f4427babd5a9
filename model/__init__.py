"""All that training and serving share, and nothing of Flask.

    bytes -> images.decode_image -> an upright RGB image
          -> transforms.EvaluationTransform -> float32 array 3×H×W
          -> classifier.Classifier -> ranked (class id, name, probability)

`checkpoint` is the file between the two: `training` writes it, `classifier` reads it.
"""

__version__ = "0.1.0"
