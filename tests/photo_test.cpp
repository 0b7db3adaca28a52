#include "photo/photo.hpp"

#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "data/image/fixtures.hpp"
#include "data/photo/fixtures.hpp"
#include "fer/draw_faces.hpp"
#include "mien/io/atomic_file.hpp"
#include "photo/write.hpp"
#include "photo_files.hpp"

using namespace mien;
using namespace photo_files;
using photo::decode_photo;
using photo::PhotoLimits;

namespace {

#if MIEN_PHOTO_JPEG
constexpr bool by_libjpeg = true;
#else
constexpr bool by_libjpeg = false;
#endif
#if MIEN_PHOTO_PNG
constexpr bool by_libpng = true;
#else
constexpr bool by_libpng = false;
#endif

std::span<const std::byte> view(const Bytes& bytes) { return std::as_bytes(std::span(bytes)); }
Image decode(const Bytes& bytes, int channels = 3, const PhotoLimits& limits = {}) {
  return decode_photo(view(bytes), channels, limits);
}
template <std::size_t n>
Bytes fixture(const std::uint8_t (&bytes)[n]) {
  return Bytes(bytes, bytes + n);
}
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// The error of a refused picture; "" and a failed check if it is decoded.
std::string refusal(const Bytes& bytes, int channels = 3, const PhotoLimits& limits = {}) {
  try {
    decode(bytes, channels, limits);
  } catch (const FormatError& error) {
    return error.what();
  }
  FAIL_CHECK("decoded what should have been refused");
  return "";
}

std::uint32_t state = 1;
std::uint32_t noise() { return (state = state * 1664525U + 1013904223U) >> 8; }

/// Pixel (x, y) of the upright picture, by the definition of EXIF's orientations (which edge of the scene the first row
/// and column show), from the stored one.
const std::uint8_t* upright_pixel(const Image& stored, int orientation, index_t x, index_t y) {
  const index_t right = stored.width - 1, bottom = stored.height - 1;
  index_t column = x, row = y;
  switch (orientation) {
    case 2:
      column = right - x;
      break;
    case 3:
      column = right - x, row = bottom - y;
      break;
    case 4:
      row = bottom - y;
      break;
    case 5:
      column = y, row = x;
      break;
    case 6:
      column = y, row = bottom - x;
      break;
    case 7:
      column = right - y, row = bottom - x;
      break;
    case 8:
      column = right - y, row = x;
      break;
  }
  return stored.pixels.data() + (row * stored.width + column) * stored.channels;
}
void check_turned(const Image& turned, const Image& stored, int orientation) {
  REQUIRE(turned.width == (orientation > 4 ? stored.height : stored.width));
  REQUIRE(turned.height == (orientation > 4 ? stored.width : stored.height));
  int wrong = 0;
  for (index_t y = 0; y < turned.height; ++y) {
    for (index_t x = 0; x < turned.width; ++x) {
      const std::uint8_t* expected = upright_pixel(stored, orientation, x, y);
      for (index_t c = 0; c < turned.channels; ++c) {
        wrong += turned.pixels[static_cast<std::size_t>((y * turned.width + x) * turned.channels + c)] != expected[c];
      }
    }
  }
  CHECK(wrong == 0);
}

int over_white(int value, int alpha) {
  return static_cast<int>(std::lround((value * alpha + 255.0 * (255 - alpha)) / 255.0));
}

}  // namespace

TEST_CASE("EXIF orientations of a JPEG") {
  for (const int channels : {1, 3}) {
    const Bytes file = fixture(fixtures::colour_420_jpeg);
    const Image stored = decode(file, channels);
    CHECK(stored.width == 37);
    CHECK(stored.height == 21);
    for (int orientation = 1; orientation <= 8; ++orientation) {
      CAPTURE(orientation);
      for (const bool little : {false, true}) {
        const Bytes turned = with_segment(file, app1(tiff(static_cast<std::uint32_t>(orientation), little)));
        check_turned(decode(turned, channels), stored, orientation);
      }
    }
  }
}

TEST_CASE("EXIF orientations of a PNG, interlaced or not") {
  std::vector<std::uint16_t> samples(11 * 7 * 3);
  for (auto& s : samples) s = noise() & 255;
  for (const bool interlaced : {false, true}) {
    const Image stored = decode(png(11, 7, 8, rgb, samples, interlaced));
    for (int orientation = 1; orientation <= 8; ++orientation) {
      const Bytes exif = chunk("eXIf", tiff(static_cast<std::uint32_t>(orientation)));
      check_turned(decode(png(11, 7, 8, rgb, samples, interlaced, exif)), stored, orientation);
    }
  }
}

TEST_CASE("EXIF data that makes no sense leaves a picture as it is stored") {
  const Bytes file = fixture(fixtures::colour_jpeg);
  const auto orientation = [&](const Bytes& segment) {
    return photo::orientation_in_jpeg(view(with_segment(file, segment)));
  };
  CHECK(orientation(app1(tiff(6))) == 6);
  CHECK(orientation(app1(tiff(0))) == 1);
  CHECK(orientation(app1(tiff(9))) == 1);
  CHECK(orientation(app1(tiff(65535))) == 1);
  CHECK(orientation(app1(tiff(6, false, 0x0113))) == 1);        // another tag
  CHECK(orientation(app1(tiff(6, false, 0x0112, 4))) == 1);     // a long integer
  CHECK(orientation(app1(tiff(6, false, 0x0112, 3, 2))) == 1);  // two of them
  // The first EXIF segment counts; other APP1 segments (XMP) are passed over.
  CHECK(orientation(app1(tiff(3)) + app1(tiff(6))) == 3);
  CHECK(orientation(Bytes{0xff, 0xe1, 0, 8, 'h', 't', 't', 'p', ':', '/'} + app1(tiff(6))) == 6);
  CHECK(orientation(Bytes{0xff} + app1(tiff(6))) == 6);  // a fill byte
  // Behind the image it is none of its.
  CHECK(photo::orientation_in_jpeg(view(file + app1(tiff(6)))) == 1);
  // Directories far away, entries that are not there, data cut off anywhere.
  for (const std::uint32_t offset : {0U, 7U, 26U, 1000U, 0xffffffffU}) {
    Bytes t = tiff(6);
    for (std::size_t i = 0; i < 4; ++i) t[4 + i] = static_cast<std::uint8_t>(offset >> (24 - 8 * i));
    CHECK(photo::orientation_in_tiff(view(t)) == 1);
  }
  Bytes many = tiff(6);
  many[8] = many[9] = 255;
  CHECK(photo::orientation_in_tiff(view(many)) == 6);
  many[10] = 0;
  many[22] = many[23] = 0;
  CHECK(photo::orientation_in_tiff(view(many)) == 1);
  const Bytes whole = tiff(6);
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const Bytes part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
    const int found = photo::orientation_in_tiff(view(part));
    CHECK((found == 1 || (found == 6 && length >= 34)));
  }
  const Bytes turned = with_segment(file, app1(tiff(6)));
  for (std::size_t length = 0; length < turned.size(); ++length) {
    const Bytes part(turned.begin(), turned.begin() + static_cast<std::ptrdiff_t>(length));
    const int found = photo::orientation_in_jpeg(view(part));
    CHECK((found == 1 || found == 6));
  }
}

TEST_CASE("JPEG: gray, colour, progressive, restarts") {
  // What the fixtures' makers drew, up to JPEG's loss.
  for (const Bytes& file :
       {fixture(fixtures::gray_jpeg), fixture(fixtures::gray_progressive_jpeg), fixture(fixtures::gray_restart_jpeg)}) {
    const Image image = decode(file, 1);
    REQUIRE(image.pixels.size() == 37 * 21);
    for (int i = 0; i < 37 * 21; ++i)
      CHECK(std::abs(image.pixels[static_cast<std::size_t>(i)] - (30 + 4 * (i % 37) + 3 * (i / 37))) <= 6);
    CHECK(decode(file, 3).pixels == with_channels(image, 3).pixels);
  }
  for (const Bytes& file : {fixture(fixtures::colour_jpeg), fixture(fixtures::colour_420_jpeg),
                            fixture(fixtures::colour_420_restart_jpeg), fixture(fixtures::colour_progressive_jpeg)}) {
    const Image image = decode(file, 3);
    REQUIRE(image.pixels.size() == 37 * 21 * 3);
    for (int i = 0; i < 37 * 21; ++i) {
      const int x = i % 37, y = i / 37;
      const std::array<int, 3> drawn{40 + 5 * x, 60 + 4 * y, 200 - 3 * x - 2 * y};
      for (std::size_t c = 0; c < 3; ++c)
        CHECK(std::abs(image.pixels[static_cast<std::size_t>(i) * 3 + c] - drawn[c]) <= 16);
    }
    // Gray is that of the decoded colours, to the bit.
    CHECK(decode(file, 1).pixels == with_channels(image, 1).pixels);
  }
}

TEST_CASE("JPEG: CMYK") {
  if (!by_libjpeg) {
    CHECK(contains(refusal(fixture(fixtures::cmyk_jpeg)), "components"));
    return;
  }
  const Image image = decode(fixture(fixtures::cmyk_jpeg));
  const auto check = [&](index_t x, std::array<int, 3> expected) {
    for (std::size_t c = 0; c < 3; ++c) {
      CHECK(std::abs(image.pixels[static_cast<std::size_t>(4 * 16 + x) * 3 + c] - expected[c]) <= 3);
    }
  };
  check(2, {0, 255, 127});
  check(13, {127, 95, 127});
}

TEST_CASE("PNG: every colour type and depth, interlaced or not") {
  if (!by_libpng) {
    MESSAGE("skipped: built without libpng");
    return;
  }
  constexpr std::uint32_t width = 13, height = 10;
  struct Kind {
    Colour colour;
    int depth;
  };
  for (const Kind kind :
       {Kind{gray, 1}, Kind{gray, 2}, Kind{gray, 4}, Kind{gray, 8}, Kind{gray, 16}, Kind{rgb, 8}, Kind{rgb, 16},
        Kind{gray_alpha, 8}, Kind{gray_alpha, 16}, Kind{rgb_alpha, 8}, Kind{rgb_alpha, 16}}) {
    for (const bool interlaced : {false, true}) {
      for (const bool transparent : {false, true}) {
        const std::size_t channels = channels_of(kind.colour);
        if (transparent && channels % 2 == 0) continue;
        CAPTURE(kind.depth);
        CAPTURE(channels);
        CAPTURE(interlaced);
        CAPTURE(transparent);
        std::vector<std::uint16_t> samples(width * height * channels);
        const std::uint32_t largest = (1U << kind.depth) - 1;
        for (auto& s : samples) s = static_cast<std::uint16_t>(noise() & largest);
        // One colour, of two pixels, that is to be seen through.
        Bytes key;
        for (std::size_t c = 0; c < channels; ++c) {
          samples[5 * channels + c] = samples[c];
          key = key + big_endian(samples[c], 2);
        }
        const Bytes file = png(width, height, kind.depth, kind.colour, samples, interlaced,
                               transparent ? chunk("tRNS", key) : Bytes{});
        const Image image = decode(file);
        REQUIRE(image.width == width);
        REQUIRE(image.height == height);
        int wrong = 0;
        for (std::size_t i = 0; i < width * height; ++i) {
          const auto sample = [&](std::size_t c) {
            return static_cast<int>(std::lround(samples[i * channels + c] * 255.0 / largest));
          };
          int alpha = channels % 2 == 0 ? sample(channels - 1) : 255;
          if (transparent &&
              std::equal(samples.begin() + static_cast<std::ptrdiff_t>(i * channels),
                         samples.begin() + static_cast<std::ptrdiff_t>((i + 1) * channels), samples.begin())) {
            alpha = 0;
          }
          for (std::size_t c = 0; c < 3; ++c) {
            wrong += image.pixels[i * 3 + c] != over_white(sample(channels >= 3 ? c : 0), alpha);
          }
        }
        CHECK(wrong == 0);
        CHECK(decode(file, 1).pixels == with_channels(image, 1).pixels);
      }
    }
  }
}

TEST_CASE("PNG: palettes") {
  if (!by_libpng) {
    MESSAGE("skipped: built without libpng");
    return;
  }
  for (const int depth : {1, 2, 4, 8}) {
    for (const bool interlaced : {false, true}) {
      CAPTURE(depth);
      const std::uint32_t colours = depth == 8 ? 200 : 1U << depth;
      Bytes table, alphas;
      for (std::uint32_t i = 0; i < 3 * colours; ++i) table.push_back(static_cast<std::uint8_t>(noise()));
      for (std::uint32_t i = 0; i < colours / 2; ++i) alphas.push_back(static_cast<std::uint8_t>(noise()));
      std::vector<std::uint16_t> samples(19 * 9);
      for (auto& s : samples) s = static_cast<std::uint16_t>(noise() % colours);
      const Bytes between = chunk("PLTE", table) + chunk("tRNS", alphas);
      const Image image = decode(png(19, 9, depth, palette, samples, interlaced, between));
      int wrong = 0;
      for (std::size_t i = 0; i < samples.size(); ++i) {
        const int alpha = samples[i] < alphas.size() ? alphas[samples[i]] : 255;
        for (std::size_t c = 0; c < 3; ++c) {
          wrong += image.pixels[i * 3 + c] != over_white(table[samples[i] * 3U + c], alpha);
        }
      }
      CHECK(wrong == 0);
      // A colour that the palette does not have, even in one pixel.
      if (depth < 8) continue;
      samples[100] = 200;
      CHECK(contains(refusal(png(19, 9, depth, palette, samples, interlaced, between)), "palette"));
    }
  }
  CHECK(refusal(png(4, 4, 8, palette, std::vector<std::uint16_t>(16, 0))) != "");
}

TEST_CASE("PNG: what does not concern the pixels is passed over") {
  const std::vector<std::uint16_t> samples(16, 77);
  // A colour profile and a comment that are no zlib data: not even looked at.
  const Bytes junk = chunk("iCCP", bytes_of(std::string("name\0\0junk", 10))) +
                     chunk("zTXt", bytes_of(std::string("name\0\0junk", 10))) + chunk("gAMA", {1, 2, 3, 4}) +
                     chunk("prVt", {5});
  CHECK(decode(png(4, 4, 8, gray, samples, false, junk), 1).pixels == std::vector<std::uint8_t>(16, 77));
  // But not what would have to be understood.
  CHECK(refusal(png(4, 4, 8, gray, samples, false, chunk("PRvt", {5}))) != "");
}

TEST_CASE("damaged files are refused wherever they are cut off") {
  std::vector<std::uint16_t> samples(9 * 9 * 3);
  for (auto& s : samples) s = noise() & 255;
  std::vector<Bytes> files = {fixture(fixtures::gray_jpeg),
                              fixture(fixtures::colour_progressive_jpeg),
                              fixture(fixtures::colour_420_restart_jpeg),
                              png(9, 9, 8, rgb, samples),
                              png(9, 9, 8, rgb, samples, true),
                              bytes_of("P5 2 2 255\nabcd")};
  for (const Bytes& file : files) {
    CHECK_NOTHROW(decode(file));
    for (std::size_t length = 0; length < file.size(); ++length) {
      CAPTURE(length);
      CHECK(refusal(Bytes(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(length))) != "");
    }
  }
}

TEST_CASE("one byte changed: an error or a picture of the same size, the same each time") {
  std::vector<std::uint16_t> samples(9 * 9);
  for (auto& s : samples) s = noise() & 3;
  const Bytes table = chunk("PLTE", {0, 0, 0, 9, 9, 9, 99, 99, 99, 200, 200, 200});
  const std::vector<Bytes> files = {fixture(fixtures::colour_420_jpeg), fixture(fixtures::colour_progressive_jpeg),
                                    fixture(fixtures::cmyk_jpeg), png(9, 9, 2, palette, samples, true, table)};
  for (std::size_t f = 0; f < files.size(); ++f) {
    for (std::size_t at = 0; at < files[f].size(); ++at) {
      Bytes file = files[f];
      file[at] ^= static_cast<std::uint8_t>(1 + noise() % 255);
      PhotoLimits limits;
      limits.pixels = 1 << 20;
      try {
        const Image image = decode(file, 3, limits);
        CHECK(image.pixels.size() == static_cast<std::size_t>(image.width * image.height * 3));
        CHECK(decode(file, 3, limits).pixels == image.pixels);
        CHECK(f < 3);  // a PNG's checksums find every change
      } catch (const FormatError& error) {
        CHECK(std::string(error.what()).size() > 5);
      }
    }
  }
}

TEST_CASE("limits") {
  const Bytes jpeg = fixture(fixtures::colour_jpeg);
  std::vector<std::uint16_t> samples(40 * 30 * 3, 9);
  const Bytes picture = png(40, 30, 8, rgb, samples);
  PhotoLimits limits;
  CHECK_NOTHROW(decode(jpeg, 3, limits));
  limits.file_bytes = jpeg.size() - 1;
  CHECK(contains(refusal(jpeg, 3, limits), "bytes"));
  limits = {};
  limits.side = 36;
  CHECK(refusal(jpeg, 3, limits) != "");
  CHECK(refusal(picture, 3, limits) != "");
  limits = {};
  limits.pixels = 37 * 21 - 1;
  CHECK(contains(refusal(jpeg, 3, limits), "37x21"));
  CHECK(contains(refusal(picture, 3, limits), "40x30"));
  limits.pixels = 37 * 21;
  CHECK_NOTHROW(decode(jpeg, 3, limits));
  limits = {};
  limits.heap_bytes = 2000;
  CHECK(contains(refusal(jpeg, 3, limits), by_libjpeg ? "MiB" : "memory"));
  CHECK(contains(refusal(picture, 3, limits), "MiB"));
  CHECK_THROWS_AS(decode(jpeg, 2), ArgumentError);
  CHECK_THROWS_AS(decode(jpeg, 0), ArgumentError);
  if (by_libjpeg && by_libpng) {
    limits = {};
    limits.seconds = 0;
    CHECK(contains(refusal(jpeg, 3, limits), "too long"));
    CHECK(contains(refusal(picture, 3, limits), "too long"));
    limits = {};
    limits.png_bytes = 30 * 121 - 1;
    CHECK(contains(refusal(picture, 3, limits), "allowed"));
    limits.png_bytes = 30 * 121;
    CHECK_NOTHROW(decode(picture, 3, limits));
  }
}

TEST_CASE("formats that are not read are named") {
  CHECK(contains(refusal(bytes_of("GIF89a..........")), "GIF"));
  CHECK(contains(refusal(bytes_of("RIFF....WEBPVP8 ")), "WebP"));
  CHECK(contains(refusal(bytes_of(std::string("\0\0\0\x18"
                                              "ftypheic",
                                              12))),
                 "HEIC"));
  CHECK(contains(refusal(bytes_of(std::string("II*\0....", 8))), "TIFF"));
  CHECK(contains(refusal(bytes_of("BM......")), "BMP"));
  CHECK(contains(refusal(bytes_of("hello, world")), "neither"));
  CHECK(contains(refusal({}), "0 bytes"));
}

// hardening: a small file must not cost much. Processor time, as others use the machine too; generous, for sanitizers.
TEST_CASE("files made to cost time or memory are refused soon") {
  const auto soon = [](const std::string& name, const Bytes& file) {
    CAPTURE(name);
    const std::clock_t start = std::clock();
    CHECK(refusal(file) != "");
    CHECK(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC < 1.0);
  };
  soon("20000x20000", assemble(header(20000, 20000, 8, gray), {}, stored({0})));
  soon("2^24 squared", assemble(header(1 << 24, 1 << 24, 8, gray), {}, stored({0})));
  soon("8000x8000 in 16 bits", assemble(header(8000, 8000, 16, rgb), {}, stored({0})));
  soon("1 MB for 48x48 pixels", assemble(header(48, 48, 8, gray), {}, zeros_compressed(180'000'000)));
  soon("10 MB for 1000x1000", assemble(header(1000, 1000, 8, gray), {}, zeros_compressed(1'500'000'000)));
  soon("empty scans of 4096x4096", jpeg_of_scans(4096, 880));
  if (by_libjpeg) soon("scans of 4096x4096, fewer", jpeg_of_scans(4096, 40));
  soon("scans of 1024x1024", jpeg_of_scans(1024, 101));
  Bytes palette_beyond = chunk("PLTE", {0, 0, 0});
  std::vector<std::uint16_t> indices(256);
  for (std::size_t i = 0; i < 256; ++i) indices[i] = static_cast<std::uint16_t>(i);
  soon("palette", png(16, 16, 8, palette, indices, false, palette_beyond));
  Bytes full{0xff, 0xd8, 0xff, 0xc4, 0x10, 0x03, 0x00};
  full.insert(full.end(), 16, 255);
  full.insert(full.end(), 4080, 0);
  soon("an over-full Huffman table", full + Bytes{0xff, 0xd9});
  // As many scans as a picture needs are another matter.
  const Image image = decode(jpeg_of_scans(512, 64), 1);
  CHECK(image.width == 512);
  CHECK(image.pixels == std::vector<std::uint8_t>(512 * 512, 128));
}

TEST_CASE("hostile files of the outside") {
  std::string folder;
  if (const char* data = std::getenv("MIEN_DATA")) folder = std::string(data) + "/hostile";
  if (const char* named = std::getenv("MIEN_HOSTILE")) folder = named;
  if (!std::filesystem::is_directory(folder)) {
    MESSAGE("skipped: neither MIEN_HOSTILE nor MIEN_DATA/hostile is a folder of hostile pictures");
    return;
  }
  int seen = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string path = entry.path().string();
    if (!path.ends_with(".png") && !path.ends_with(".jpg")) continue;
    CAPTURE(path);
    ++seen;
    const std::clock_t start = std::clock();
    try {
      (void)decode_photo(read_file(path, PhotoLimits().file_bytes), 3);
    } catch (const Error& error) {
      CHECK(std::string(error.what()) != "");
    }
    CHECK(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC < 1.0);
  }
  CHECK(seen > 0);
}

TEST_CASE("without the libraries: mien's own decoder, turned upright") {
  const Bytes file = fixture(fixtures::colour_420_jpeg);
  for (const int channels : {1, 3}) {
    const Image stored = photo::detail::decode_plainly(view(file), channels, 1, {});
    const Image ours = decode(file, channels);
    REQUIRE(stored.pixels.size() == ours.pixels.size());
    for (std::size_t i = 0; i < ours.pixels.size(); ++i) CHECK(std::abs(stored.pixels[i] - ours.pixels[i]) <= 16);
    for (int orientation = 1; orientation <= 8; ++orientation) {
      check_turned(photo::detail::decode_plainly(view(file), channels, orientation, {}), stored, orientation);
    }
  }
  PhotoLimits limits;
  limits.heap_bytes = 5000;
  CHECK_THROWS_AS(photo::detail::decode_plainly(view(file), 3, 6, limits), FormatError);
}

TEST_CASE("many threads decode at once") {
  const Bytes jpeg = fixture(fixtures::colour_progressive_jpeg);
  std::vector<std::uint16_t> samples(30 * 30 * 3);
  for (auto& s : samples) s = noise() & 255;
  const Bytes picture = png(30, 30, 8, rgb, samples, true);
  const Image one = decode(jpeg), two = decode(picture);
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        wrong += decode(jpeg).pixels != one.pixels;
        wrong += decode(picture).pixels != two.pixels;
        try {
          decode(Bytes(jpeg.begin(), jpeg.end() - 20));
          ++wrong;
        } catch (const FormatError&) {
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

TEST_CASE("written pictures are read back") {
  for (const index_t channels : {1, 3}) {
    Image image{33, 17, channels, {}};
    for (index_t i = 0; i < 33 * 17 * channels; ++i) image.pixels.push_back(static_cast<std::uint8_t>(noise()));
    const auto back = [&](const std::string& bytes) {
      return decode_photo(std::as_bytes(std::span(bytes)), static_cast<int>(channels)).pixels;
    };
    CHECK(back(photo::png_bytes(image)) == image.pixels);
    CHECK(back(fer::encode_png(image.pixels, image.width, image.height, channels)) == image.pixels);
  }
  const std::vector<std::uint8_t> some(30);
  CHECK_THROWS_AS(fer::encode_png(some, 4, 3, 3), ArgumentError);
  CHECK_THROWS_AS(fer::encode_png(some, 4, 3, 2), ArgumentError);
}

TEST_CASE("letters, frames and bars stay inside the picture") {
  for (const char c : photo::detail::font_characters) {
    int ink = 0;
    for (int y = 0; y < photo::glyph_height; ++y) {
      for (int x = 0; x < photo::glyph_width; ++x) ink += photo::glyph_pixel(c, x, y);
    }
    CAPTURE(c);
    CHECK(ink >= 3);
    for (const char other : photo::detail::font_characters) {
      if (other == c) continue;
      bool same = true;
      for (int y = 0; y < photo::glyph_height; ++y) {
        for (int x = 0; x < photo::glyph_width; ++x) {
          same = same && photo::glyph_pixel(c, x, y) == photo::glyph_pixel(other, x, y);
        }
      }
      CHECK_FALSE(same);
    }
  }
  CHECK_FALSE(photo::glyph_pixel(' ', 2, 3));
  CHECK_FALSE(photo::glyph_pixel('a', 5, 3));

  // Any boxes, also outside, huge and of one pixel, in pictures of any size (sanitizers look on).
  const std::vector<float> answers = {0.3f, 0, 0.05f, 0.5f, 0.05f, 0.05f, 0.05f};
  for (const auto& [width, height] : {std::pair<index_t, index_t>{1, 1}, {3, 200}, {200, 3}, {300, 200}, {700, 500}}) {
    for (int trial = 0; trial < 20; ++trial) {
      std::vector<fer::DrawnFace> faces;
      for (int f = 0; f < 4; ++f) {
        const auto place = [&](index_t side) { return static_cast<index_t>(noise() % (2 * side + 3)) - side / 2; };
        faces.push_back(
            {{place(width), place(height), 1 + place(width) / 2 + width, 1 + static_cast<index_t>(noise() % 300)},
             f % 2 == 0 ? answers : std::vector<float>{}});
      }
      const Image picture{width, height, 3,
                          std::vector<std::uint8_t>(static_cast<std::size_t>(width * height * 3), 60)};
      const Image drawn = fer::draw_faces(picture, faces, trial % 3 == 0 ? 150 : 0);
      CHECK(drawn.pixels.size() == static_cast<std::size_t>(drawn.width * drawn.height * 3));
      if (trial % 3 == 0) CHECK(std::max(drawn.width, drawn.height) <= 150);
    }
  }
  // A face in the middle: framed in the colour of its expression, labelled, its bars beside it.
  const Image plain{600, 300, 3, std::vector<std::uint8_t>(600 * 300 * 3, 60)};
  const Image drawn = fer::draw_faces(plain, {{{100, 100, 120, 120}, answers}}, 0);
  const auto count = [&](index_t x0, index_t y0, index_t x1, index_t y1, photo::Colour colour) {
    int found = 0;
    for (index_t y = y0; y < y1; ++y) {
      for (index_t x = x0; x < x1; ++x) {
        const std::uint8_t* p = drawn.pixels.data() + (y * 600 + x) * 3;
        found += p[0] == colour.red && p[1] == colour.green && p[2] == colour.blue;
      }
    }
    return found;
  };
  const auto& colours = fer::detail::class_colours;
  CHECK(count(100, 100, 220, 220, colours[3]) >= 2 * 2 * 118);
  CHECK(count(100, 80, 220, 100, colours[3]) > 300);
  // Bars: the likelier, the longer.
  CHECK(count(220, 90, 600, 220, colours[3]) > count(220, 90, 600, 220, colours[0]));
  CHECK(count(220, 90, 600, 220, colours[0]) > count(220, 90, 600, 220, colours[1]));
  Image gray{2, 2, 1, std::vector<std::uint8_t>(4)};
  CHECK_THROWS_AS(photo::Canvas{gray}, ShapeError);
}
