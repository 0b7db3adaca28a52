"""Writes reference.safetensors with the reference writer (PyPI safetensors 0.8.0, numpy), names and values as tests/
safetensors_test.cpp expects them: element i of each tensor is i - 2 (BOOL: i odd)."""
import numpy as np
from safetensors.numpy import save_file

values = lambda dtype, *shape: (np.arange(int(np.prod(shape))) - 2).astype(dtype).reshape(shape)
save_file(
    {
        "features.0.weight": values(np.float32, 2, 3, 1, 1),
        "features.0.bias": values(np.float32, 2),
        "wide": values(np.float64, 3),
        "half": values(np.float16, 2, 2),
        "bn.num_batches_tracked": np.array(-2, dtype=np.int64),
        "bytes": np.arange(5).astype(np.uint8),
        "flags": (np.arange(3) % 2).astype(bool),
        "short": values(np.int16, 3),
        "empty": values(np.float32, 0, 4),
        "rank6": values(np.float32, 1, 1, 1, 1, 1, 2),
    },
    "reference.safetensors",
    metadata={"format": "np"},
)
