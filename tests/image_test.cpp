#include "mien/data/image.hpp"

#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <thread>
#include <vector>

#include "data/image/fixtures.hpp"
#include "photo_files.hpp"
#include "sanitized.hpp"

using namespace mien;

namespace {

using photo_files::big_endian, photo_files::Bytes, photo_files::bytes_of, photo_files::chunk, photo_files::stored,
    photo_files::zeros_compressed, photo_files::operator+;

Image decode(const Bytes& bytes, int channels = 1, const ImageLimits& limits = {}) {
  return decode_image(std::as_bytes(std::span(bytes)), channels, limits);
}

/// The error of a refused image; "" and a failed check if it is decoded.
std::string refusal(const Bytes& bytes, const ImageLimits& limits = {}) {
  try {
    decode(bytes, 1, limits);
  } catch (const FormatError& error) {
    return error.what();
  }
  FAIL_CHECK("decoded what should have been refused");
  return "";
}
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// PNG
const Bytes signature{0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
Bytes header(std::uint32_t width, std::uint32_t height, int depth, std::uint8_t colour, bool interlaced = false) {
  return photo_files::header(width, height, depth, static_cast<photo_files::Colour>(colour), interlaced);
}
Bytes png(const Bytes& head, const Bytes& data, const Bytes& between = {}) {
  return photo_files::assemble(head, between, data);
}
/// Pixels in rows without a filter.
Bytes rows(const Bytes& pixels, std::size_t row_bytes) {
  Bytes result;
  for (std::size_t i = 0; i < pixels.size(); i += row_bytes) {
    result.push_back(0);
    result.insert(result.end(), pixels.begin() + static_cast<std::ptrdiff_t>(i),
                  pixels.begin() + static_cast<std::ptrdiff_t>(i + row_bytes));
  }
  return result;
}
Bytes random_bytes(std::size_t count) {
  Bytes bytes(count);
  std::uint32_t state = 12345;
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>((state = state * 1664525U + 1013904223U) >> 24);
  return bytes;
}

// JPEG.
Bytes segment(std::uint8_t marker, const Bytes& data) {
  return Bytes{0xff, marker} + big_endian(static_cast<std::uint32_t>(data.size() + 2), 2) + data;
}
Bytes frame(std::uint8_t marker, std::uint32_t width, std::uint32_t height) {
  return segment(marker, Bytes{8} + big_endian(height, 2) + big_endian(width, 2) + Bytes{1, 1, 0x11, 0});
}
Bytes quantization() { return segment(0xdb, Bytes{0} + Bytes(64, 1)); }
/// A table of one code, "0", for `value`.
Bytes one_code(std::uint8_t head, std::uint8_t value) {
  return segment(0xc4, Bytes{head, 1} + Bytes(15, 0) + Bytes{value});
}
/// Progressive, with `scans` scans of no coefficient at all: a few bytes each, a pass over the image each.
Bytes empty_scans(std::uint32_t side, int scans) {
  Bytes file = Bytes{0xff, 0xd8} + quantization() + frame(0xc2, side, side) + one_code(0x10, 0xe0) + one_code(0, 0);
  // "End of 2^14 + 16383 blocks" as often as there are 32,767 blocks.
  Bytes data;
  unsigned held = 0, count = 0;
  const auto put = [&](unsigned value) {
    held = held << 1 | value;
    if (++count < 8) return;
    data.push_back(static_cast<std::uint8_t>(held));
    if (data.back() == 0xff) data.push_back(0);
    held = count = 0;
  };
  for (std::uint32_t blocks = 0; blocks < (side / 8) * (side / 8); blocks += 32767) {
    put(0);
    for (int i = 0; i < 14; ++i) put(1);
  }
  while (count != 0) put(1);
  Bytes means;
  for (std::uint32_t i = 0; i < ((side / 8) * (side / 8) + 7) / 8; ++i) means.push_back(0);
  file = file + segment(0xda, {1, 1, 0, 0, 0, 0}) + means;
  for (int scan = 0; scan < scans; ++scan) file = file + segment(0xda, {1, 1, 0, 1, 63, 0}) + data;
  return file + Bytes{0xff, 0xd9};
}

template <std::size_t n>
Bytes fixture(const std::uint8_t (&data)[n]) {
  return Bytes(data, data + n);
}

using test::sanitized;

/// Largest resident memory since the last call with reset, in kB; -1 where the system does not tell.
long peak_memory(bool reset) {
  if (reset) {
    std::FILE* file = std::fopen("/proc/self/clear_refs", "w");
    if (file == nullptr) return -1;
    const bool written = std::fputs("5", file) >= 0;
    if (std::fclose(file) != 0 || !written) return -1;
  }
  std::FILE* file = std::fopen("/proc/self/status", "r");
  if (file == nullptr) return -1;
  long peak = -1;
  char line[256];
  while (std::fgets(line, sizeof line, file) != nullptr) {
    if (std::string(line).rfind("VmHWM:", 0) == 0) peak = std::atol(line + 6);
  }
  std::fclose(file);
  return peak;
}

}  // namespace

TEST_CASE("JPEG: sequential and progressive, gray and colour, subsampled, with restarts") {
  for (const Bytes& file :
       {fixture(fixtures::gray_jpeg), fixture(fixtures::gray_progressive_jpeg), fixture(fixtures::gray_restart_jpeg)}) {
    const Image gray = decode(file), colour = decode(file, 3);
    REQUIRE(gray.width == 37);
    REQUIRE(gray.height == 21);
    REQUIRE(gray.channels == 1);
    REQUIRE(gray.pixels.size() == 37 * 21);
    for (int y = 0; y < 21; ++y) {
      for (int x = 0; x < 37; ++x) {
        const auto at = static_cast<std::size_t>(y * 37 + x);
        REQUIRE(std::abs(gray.pixels[at] - (30 + 4 * x + 3 * y)) <= 4);
        for (std::size_t c = 0; c < 3; ++c) REQUIRE(colour.pixels[at * 3 + c] == gray.pixels[at]);
      }
    }
  }
  for (const Bytes& file : {fixture(fixtures::colour_jpeg), fixture(fixtures::colour_420_jpeg),
                            fixture(fixtures::colour_420_restart_jpeg), fixture(fixtures::colour_progressive_jpeg)}) {
    const Image gray = decode(file), colour = decode(file, 3);
    REQUIRE(colour.channels == 3);
    CHECK(with_channels(colour, 1).pixels == gray.pixels);
    for (int y = 0; y < 21; ++y) {
      for (int x = 0; x < 37; ++x) {
        const std::uint8_t* pixel = colour.pixels.data() + (y * 37 + x) * 3;
        REQUIRE(std::abs(pixel[0] - (40 + 5 * x)) <= 12);
        REQUIRE(std::abs(pixel[1] - (60 + 4 * y)) <= 12);
        REQUIRE(std::abs(pixel[2] - (200 - 3 * x - 2 * y)) <= 12);
      }
    }
  }
}

TEST_CASE("PNG: gray and colour, transparency dropped, gray of fewer bits, interlaced") {
  const Bytes gray = random_bytes(13 * 7);
  CHECK(decode(png(header(13, 7, 8, 0), stored(rows(gray, 13)))).pixels == gray);
  const Bytes colour = random_bytes(13 * 7 * 3);
  CHECK(decode(png(header(13, 7, 8, 2), stored(rows(colour, 39))), 3).pixels == colour);
  CHECK(decode(png(header(13, 7, 8, 2), stored(rows(colour, 39)))).pixels ==
        with_channels(ImageView{colour.data(), 13, 7, 3, 39}, 1).pixels);
  // With a palette that is only a suggestion, unknown chunks that may be ignored, and a transparent colour.
  CHECK(decode(png(header(13, 7, 8, 2), stored(rows(colour, 39)),
                   chunk("PLTE", {1, 2, 3}) + chunk("tEXt", bytes_of("hello")) + chunk("tRNS", {0, 1, 0, 2, 0, 3})),
               3)
            .pixels == colour);
  Bytes with_alpha, gray_alpha;
  for (std::size_t i = 0; i < colour.size(); ++i) {
    with_alpha.push_back(colour[i]);
    if (i % 3 == 2) with_alpha.push_back(static_cast<std::uint8_t>(i));
  }
  for (const std::uint8_t value : gray) gray_alpha = gray_alpha + Bytes{value, 99};
  CHECK(decode(png(header(13, 7, 8, 6), stored(rows(with_alpha, 52))), 3).pixels == colour);
  CHECK(decode(png(header(13, 7, 8, 4), stored(rows(gray_alpha, 26)))).pixels == gray);
  CHECK(decode(png(header(9, 1, 1, 0), stored({0, 0b10110000, 0b10000000}))).pixels ==
        Bytes{255, 0, 255, 255, 0, 0, 0, 0, 255});
  CHECK(decode(png(header(3, 1, 4, 0), stored({0, 0x0f, 0x70}))).pixels == Bytes{0, 255, 0x77});
  // Interlaced 2x2: pass 1 has pixel (0, 0), pass 6 (1, 0), pass 7 the second row.
  CHECK(decode(png(header(2, 2, 8, 0, 1), stored({0, 10, 0, 20, 0, 30, 40}))).pixels == Bytes{10, 20, 30, 40});
  // The data in many pieces.
  const Bytes data = stored(rows(gray, 13));
  Bytes pieces;
  for (const std::uint8_t byte : data) pieces = pieces + chunk("IDAT", {byte});
  CHECK(decode(signature + header(13, 7, 8, 0) + pieces + chunk("IEND", {})).pixels == gray);
}

TEST_CASE("PGM and PPM") {
  CHECK(decode(bytes_of("P5 2 2 255\n") + Bytes{1, 2, 3, 4}).pixels == Bytes{1, 2, 3, 4});
  CHECK(decode(bytes_of("P5\n# by hand\n2 # width\n2\r\n255 ") + Bytes{1, 2, 3, 4, 9, 9}).pixels == Bytes{1, 2, 3, 4});
  CHECK(decode(bytes_of("P6 1 2 255\n") + Bytes{1, 2, 3, 4, 5, 6}, 3).pixels == Bytes{1, 2, 3, 4, 5, 6});
  CHECK(decode(bytes_of("P6 1 1 255\n") + Bytes{255, 0, 0}).pixels == Bytes{76});
  CHECK(contains(refusal(bytes_of("P5 2 2 255\n") + Bytes{1, 2, 3}), "3 bytes of pixels, expected 4"));
  CHECK(contains(refusal(bytes_of("P5 2 2 254\n1234")), "only 255"));
  CHECK(contains(refusal(bytes_of("P5 2 2 65535\n12345678")), "only 255"));
  CHECK(contains(refusal(bytes_of("P5 0 2 255\n")), "the width is missing or 0"));
  CHECK(contains(refusal(bytes_of("P5 60000 60000 255\n")), "the width is larger than allowed"));
  CHECK(contains(refusal(bytes_of("P5 99999999999999999999999 1 255\n")), "the width is larger than allowed"));
  CHECK(contains(refusal(bytes_of("P5 -2 2 255\n1234")), "the width is missing or 0"));
  CHECK(contains(refusal(bytes_of("P52 2 255\n1234")), "the width is missing or 0"));
  CHECK(contains(refusal(bytes_of("P5 2 2 255")), "expected a blank"));
  CHECK(contains(refusal(bytes_of("P5 2 2#")), "the largest value is missing"));
  for (const char* text : {"P5", "P5 ", "P5 2", "P5 2 2", "P5 #", "P6\n1"}) refusal(bytes_of(text));
}

TEST_CASE("What is no image") {
  CHECK(contains(refusal({}), "0 bytes"));
  CHECK(contains(refusal(bytes_of("hello, world")), "neither JPEG, PNG nor"));
  // Formats that stb_image knows, but not here.
  CHECK(contains(refusal(bytes_of("GIF89a") + Bytes(100, 0)), "neither"));
  CHECK(contains(refusal(bytes_of("#?RADIANCE\n\n-Y 1 +X 1\n") + Bytes(100, 0)), "neither"));
  CHECK(contains(refusal(bytes_of("BM") + Bytes(100, 0)), "neither"));
  CHECK(contains(refusal({0xff, 0xd8, 0xff}), "JPEG, byte 3: the file ends early"));
  CHECK(contains(refusal(signature), "PNG, byte 8: the file ends early"));
  CHECK(contains(refusal(Bytes((std::size_t{8} << 20) + 1, 0)), "8388609 bytes, more than the 8388608 allowed"));
  CHECK_THROWS_AS(decode(bytes_of("P5 1 1 255\n1"), 2), ArgumentError);
  CHECK(decode(bytes_of("P5 1 1 255\n1")).pixels.size() == 1);
}

TEST_CASE("Hostile files are refused in a short time and little memory") {
  struct Case {
    const char* name;
    Bytes file;
    const char* reason;
  };
  Bytes many_codes{0};
  many_codes = many_codes + Bytes(16, 255) + Bytes(4080, 0);
  Bytes full_codes{0, 2};  // "0" and "1" taken, and one more of two bits
  full_codes = full_codes + Bytes{1} + Bytes(14, 0) + Bytes{1, 2, 3};
  Bytes leak;
  for (int i = 0; i < 256; ++i) leak.push_back(static_cast<std::uint8_t>(i));
  const Case cases[] = {
      {"a Huffman table of 4080 codes", Bytes{0xff, 0xd8} + segment(0xc4, many_codes) + Bytes{0xff, 0xd9},
       "more codes than there can be"},
      {"a Huffman table with one code too many", Bytes{0xff, 0xd8} + segment(0xc4, full_codes) + Bytes{0xff, 0xd9},
       "more codes than there can be"},
      {"1000 empty scans", empty_scans(4096, 1000), "scan"},
      {"1000 empty scans that each come once too often", empty_scans(4096, 2), "scans that do not follow"},
      {"a JPEG of 65535x65535", Bytes{0xff, 0xd8} + quantization() + frame(0xc0, 65535, 65535) + Bytes(100, 0),
       "65535x65535 pixels is larger than allowed"},
      {"palette indices beyond the palette",
       png(header(16, 16, 8, 3), stored(rows(leak, 16)), chunk("PLTE", {0, 0, 0})), "indexed colours"},
      {"a PNG of 60000x60000", png(header(60000, 60000, 8, 0), stored({0, 1})),
       "60000x60000 pixels is larger than allowed"},
      {"a PNG of 4294967295x4294967295", png(header(~0U, ~0U, 8, 0), stored({0, 1})), "larger than allowed"},
      {"a PNG of 16 bits", png(header(8000, 8000, 16, 2), zeros_compressed(10000)), "larger than allowed"},
      {"a small PNG of 16 bits", png(header(80, 80, 16, 2), zeros_compressed(10000)), "16 bits"},
      {"48x48 that inflate to 300 MB", png(header(48, 48, 8, 0), zeros_compressed(300000000)), "compressed bytes"},
      {"48x48 that inflate to 10 MB", png(header(48, 48, 8, 0), zeros_compressed(10000000)), "much larger than"},
      {"4096x4096 of three channels", png(header(4096, 4096, 8, 2), zeros_compressed(50336000)), "MiB"},
      {"4096x4096 without data", png(header(4096, 4096, 8, 0), stored({0, 1})), "PNG"},
  };
  for (const Case& hostile : cases) {
    CAPTURE(hostile.name);
    CAPTURE(hostile.file.size());
    const long before = peak_memory(true);
    // Processor time, as others may be busy on the machine.
    const std::clock_t start = std::clock();
    const std::string reason = refusal(hostile.file);
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    const long after = peak_memory(false);
    CHECK_MESSAGE(contains(reason, hostile.reason), reason);
    CHECK(seconds < (sanitized ? 5.0 : 0.5));
    if (before < 0 || after < 0) {
      MESSAGE("memory not measured: /proc/self cannot be asked");
    } else if (!sanitized) {
      CHECK(after - before < 120 * 1024);
    }
  }
}

TEST_CASE("The largest allowed images keep to their memory and time") {
  ImageLimits limits;
  const Image image = decode(empty_scans(4096, 1));
  CHECK(image.width == 4096);
  CHECK(decode(png(header(4096, 4096, 8, 0), zeros_compressed(4097 * 4096))).height == 4096);
  limits.heap_bytes = std::size_t{30} << 20;
  CHECK(contains(refusal(empty_scans(4096, 1), limits), "MiB"));
  CHECK(contains(refusal(png(header(4096, 4096, 8, 0), zeros_compressed(4097 * 4096)), limits), "MiB"));
  limits = {};
  limits.side = 36;
  CHECK(contains(refusal(fixture(fixtures::gray_jpeg), limits), "37x21 pixels is larger than allowed"));
  limits.side = 37;
  CHECK(decode(fixture(fixtures::gray_jpeg), 1, limits).width == 37);
  limits.pixels = 37 * 21 - 1;
  CHECK(contains(refusal(fixture(fixtures::gray_jpeg), limits), "larger than allowed"));
  CHECK(contains(refusal(bytes_of("P5 37 21 255\n") + Bytes(777, 0), limits), "larger than allowed"));
  limits = {};
  limits.jpeg_scans = 2;
  CHECK(contains(refusal(fixture(fixtures::gray_progressive_jpeg), limits), "more than 2 scans"));
  limits.file_bytes = 100;
  CHECK(contains(refusal(fixture(fixtures::gray_jpeg), limits), "more than the 100 allowed"));
}

TEST_CASE("Every cut is noticed, and no changed byte does harm") {
  Bytes transparent{0, 1, 2, 3, 4, 0, 5, 6, 7, 8};
  const Bytes files[] = {
      fixture(fixtures::gray_jpeg),
      fixture(fixtures::gray_progressive_jpeg),
      fixture(fixtures::gray_restart_jpeg),
      fixture(fixtures::colour_420_restart_jpeg),
      fixture(fixtures::colour_progressive_jpeg),
      png(header(2, 2, 8, 4), stored(transparent)),
      png(header(9, 9, 8, 0, 1), zeros_compressed(300)),
      bytes_of("P5 2 2 255\n") + Bytes{1, 2, 3, 4},
  };
  for (const Bytes& file : files) {
    decode(file);
    for (std::size_t length = 0; length < file.size(); ++length) {
      CAPTURE(length);
      CHECK_FALSE(refusal(Bytes(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(length))).empty());
    }
    for (std::size_t at = 0; at < file.size(); ++at) {
      for (const int change : {1, 0x80, 0xff}) {
        Bytes damaged = file;
        damaged[at] = static_cast<std::uint8_t>(damaged[at] ^ change);
        try {
          const Image image = decode(damaged);
          REQUIRE(image.pixels.size() == static_cast<std::size_t>(image.width * image.height));
        } catch (const FormatError&) {
        }
      }
    }
  }
}

TEST_CASE("A PNG's checksums are looked at") {
  const Bytes file = png(header(4, 4, 8, 0), stored(rows(random_bytes(16), 4)), chunk("tEXt", bytes_of("hello")));
  decode(file);
  for (std::size_t at = 12; at < file.size(); ++at) {
    // Lengths apart, which lead elsewhere.
    Bytes damaged = file;
    damaged[at] ^= 4;
    refusal(damaged);
  }
}

TEST_CASE("JPEG tables and scans that are missing or do not fit are named") {
  const Bytes start = Bytes{0xff, 0xd8} + quantization(), end{0xff, 0xd9};
  const Bytes tables = one_code(0x10, 0) + one_code(0, 0);
  const Bytes scan = segment(0xda, {1, 1, 0, 0, 63, 0});
  const Bytes sound = start + frame(0xc0, 8, 8) + tables + scan + Bytes{0x3f} + end;
  CHECK(decode(sound).pixels == Bytes(64, 128));
  CHECK(decode(sound + bytes_of("what follows the end")).pixels == Bytes(64, 128));
  CHECK(
      decode(start + segment(0xfe, bytes_of("a remark")) + frame(0xc1, 8, 8) + tables + scan + Bytes{0x3f, 0, 0} + end)
          .pixels == Bytes(64, 128));
  CHECK(contains(refusal(start + frame(0xc0, 8, 8) + scan + Bytes{0x3f} + end), "a Huffman table is missing"));
  CHECK(contains(refusal(Bytes{0xff, 0xd8} + frame(0xc0, 8, 8) + tables + scan + Bytes{0x3f} + end),
                 "a quantization table is missing"));
  CHECK(contains(refusal(start + tables + scan + Bytes{0x3f} + end), "data before the frame header"));
  CHECK(contains(refusal(start + frame(0xc0, 8, 8) + tables + end), "component 0 has no data"));
  CHECK(contains(refusal(start + end), "no image"));
  CHECK(contains(refusal(start + frame(0xc0, 8, 8) + frame(0xc0, 8, 8) + end), "a second image"));
  CHECK(contains(refusal(start + frame(0xc0, 8, 8) + tables + scan + Bytes{0x3f} + scan + Bytes{0x3f} + end),
                 "a component coded twice"));
  CHECK(contains(refusal(start + frame(0xc0, 64, 64) + tables + scan + Bytes{0x3f} + end), "ends early"));
  CHECK(contains(refusal(start + frame(0xc0, 8, 8) + tables + scan + Bytes(4, 0xbf) + end), "a code that its table"));
  CHECK(contains(refusal(start + frame(0xc0, 8, 0) + end), "without pixels"));
  CHECK(contains(refusal(start + frame(0xc9, 8, 8) + end), "marker 201"));
  CHECK(contains(refusal(start + Bytes{0, 0} + frame(0xc0, 8, 8) + end), "expected a marker"));
  CHECK(contains(refusal(start + segment(0xc0, {8, 0, 8, 0, 8, 4, 1, 17, 0, 2, 17, 0, 3, 17, 0, 4, 17, 0}) + end),
                 "CMYK"));
}

TEST_CASE("Decoding in several threads") {
  const Bytes file = fixture(fixtures::colour_420_jpeg), damaged(file.begin(), file.end() - 40);
  const Bytes bomb = png(header(48, 48, 8, 0), zeros_compressed(1000000));
  const Image expected = decode(file, 3);
  std::vector<int> good(4, 0);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 200; ++round) {
        int refused = 0;
        for (const Bytes* bad : {&damaged, &bomb}) {
          try {
            decode(*bad);
          } catch (const FormatError&) {
            ++refused;
          }
        }
        good[i] += refused == 2 && decode(file, 3).pixels == expected.pixels;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(good == std::vector<int>(4, 200));
}
