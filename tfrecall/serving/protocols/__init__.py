"""Protocols of other servers on the data plane: TF Serving's REST, and the Open Inference Protocol."""
