"""The reference provider: serves models over encrypted sessions and is paid by vouchers."""

import os

# onnxruntime notes this when it is first imported: later calls find its telemetry already started.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
