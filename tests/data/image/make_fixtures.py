#!/usr/bin/env python3
"""Makes fixtures.hpp: small JPEG files as arrays, of pictures whose pixels tests/image_test.cpp knows by a formula.

Needs Pillow and numpy. Usage: make_fixtures.py > fixtures.hpp
"""
import io
import sys

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 37, 21
y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
COLOUR = np.stack([40 + 5 * x, 60 + 4 * y, 200 - 3 * x - 2 * y], -1).astype(np.uint8)
GRAY = (30 + 4 * x + 3 * y).astype(np.uint8)

FIXTURES = {
    "gray_jpeg": (GRAY, {}),
    "gray_progressive_jpeg": (GRAY, {"progressive": True}),
    "gray_restart_jpeg": (GRAY, {"restart_marker_blocks": 4}),
    "colour_jpeg": (COLOUR, {"subsampling": 0}),
    "colour_420_jpeg": (COLOUR, {"subsampling": 2}),
    "colour_420_restart_jpeg": (COLOUR, {"subsampling": 2, "restart_marker_rows": 1}),
    "colour_progressive_jpeg": (COLOUR, {"subsampling": 1, "progressive": True}),
}

print("// Made by make_fixtures.py: %dx%d pictures, gray 30 + 4x + 3y or red 40 + 5x, green 60 + 4y, blue 200 - 3x - 2y."
      % (WIDTH, HEIGHT))
print("#pragma once\n\n#include <cstdint>\n\nnamespace fixtures {\n")
print("// clang-format off")
for name, (pixels, options) in FIXTURES.items():
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=92, optimize=True, **options)
    data = buffer.getvalue()
    print("inline constexpr std::uint8_t %s[] = {" % name)
    for i in range(0, len(data), 32):
        print("  " + ",".join(str(b) for b in data[i:i + 32]) + ",")
    print("};")
    if len(sys.argv) > 1:  # also as files, for the fuzzer
        with open(f"{sys.argv[1]}/{name.replace('_jpeg', '.jpg')}", "wb") as file:
            file.write(data)
print("// clang-format on\n\n}  // namespace fixtures")
