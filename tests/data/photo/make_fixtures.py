#!/usr/bin/env python3
"""Makes fixtures.hpp: JPEG files that tests/photo_test.cpp cannot write itself. Needs Pillow.

Usage: make_fixtures.py [FOLDER] > fixtures.hpp        (FOLDER: also as files there, for the fuzzer)
"""
import io
import sys

from PIL import Image

# Left half of one ink, right half of another: cyan 255, magenta 0, yellow 128, black 0 and 0, 64, 0, 128.
cmyk = Image.new("CMYK", (16, 8), (255, 0, 128, 0))
cmyk.paste((0, 64, 0, 128), (8, 0, 16, 8))

print("// Made by make_fixtures.py: 16x8 CMYK, inks 255, 0, 128, 0 on the left half and 0, 64, 0, 128 on the right one.")
print("#pragma once\n\n#include <cstdint>\n\nnamespace fixtures {\n")
print("// clang-format off")
buffer = io.BytesIO()
cmyk.save(buffer, "JPEG", quality=95, optimize=True)
data = buffer.getvalue()
print("inline constexpr std::uint8_t cmyk_jpeg[] = {")
for i in range(0, len(data), 32):
    print("  " + ",".join(str(b) for b in data[i:i + 32]) + ",")
print("};")
if len(sys.argv) > 1:
    with open(sys.argv[1] + "/cmyk.jpg", "wb") as file:
        file.write(data)
print("// clang-format on\n\n}  // namespace fixtures")
