"""The stages of the camera, and the integer arithmetic that they are made of."""
