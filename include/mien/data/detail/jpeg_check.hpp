// Private: whether a JPEG is sound, found without decoding its pixels.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "mien/core/error.hpp"
#include "mien/core/shape.hpp"

namespace mien::detail {

/// What a sound JPEG needs of its decoder.
struct JpegInfo {
  index_t width = 0;
  index_t height = 0;
  int components = 0;
  bool progressive = false;
  std::uint64_t plane_bytes = 0;  ///< of all components, padded to whole coding units
};

struct JpegLimits {
  index_t side = 0;
  index_t pixels = 0;
  int scans = 0;
  std::uint64_t heap_bytes = 0;  ///< for what the check itself remembers
};

/// Walks a whole JPEG (ITU-T T.81; Huffman-coded, sequential or progressive, 8 bits, 1 or 3 components) and every code
/// of its entropy-coded data, keeping of the coefficients only which are not zero. What passes has tables of valid
/// lengths, all of its data, and no number out of range, so that a decoder that trusts its input does not meet what it
/// never expected: stb_image before 2.28 writes out of bounds for an over-full table and shifts by negative counts
/// where data ends early, and no version limits the work that thousands of empty scans cause. Every coefficient may be
/// visited at most once per bit plane here.
class JpegCheck {
 public:
  JpegCheck(std::span<const std::byte> bytes, const JpegLimits& limits) : bytes_(bytes), limits_(limits) {}

  /// Throws FormatError with the offset of what is wrong.
  JpegInfo run() {
    if (take8() != 0xff || take8() != 0xd8) refuse("no JPEG");
    bool done = false;
    while (!done) {
      const int marker = next_marker();
      switch (marker) {
        case 0xc0:
        case 0xc1:
        case 0xc2:
          frame(marker == 0xc2);
          break;
        case 0xc4:
          huffman_tables();
          break;
        case 0xd9:
          done = true;
          break;
        case 0xda:
          scan();
          break;
        case 0xdb:
          quantization_tables();
          break;
        case 0xdd: {
          const std::size_t end = segment();
          if (end - position_ != 2) refuse("a restart interval of wrong length");
          restart_interval_ = take16();
          break;
        }
        default: {
          if (marker != 0xfe && (marker < 0xe0 || marker > 0xef)) {
            refuse("marker " + std::to_string(marker) + " (arithmetic coding, lossless and hierarchical JPEG are not " +
                   "supported, nor is what is no marker at all)");
          }
          position_ = segment();
        }
      }
    }
    if (info_.components == 0) refuse("no image in the file");
    for (int c = 0; c < info_.components; ++c) {
      if (!components_[static_cast<std::size_t>(c)].seen) refuse("component " + std::to_string(c) + " has no data");
    }
    return info_;
  }

 private:
  struct Huffman {
    bool defined = false;
    std::array<std::uint8_t, 256> values{};
    std::array<std::uint16_t, 512> quick{};   // by the next 9 bits: length * 256 + value, 0 for longer codes
    std::array<std::int32_t, 17> end{};       // by length: first code beyond those of it, as 16 bits from the left
    std::array<std::int32_t, 17> position{};  // by length: index of its first value minus its first code
  };

  struct Component {
    int id = 0;
    int h = 1, v = 1;
    int quantization = 0;
    index_t blocks_x = 0, blocks_y = 0;    // of the component alone
    index_t padded_x = 0;                  // of whole coding units
    std::vector<std::uint64_t> nonzero{};  // progressive: a bit per coefficient of each block, in zigzag order
    std::array<std::int8_t, 64> bit{};     // progressive: bit plane reached per coefficient, -1 for none
    bool seen = false;
    int dc_table = 0, ac_table = 0;
    int dc = 0;
  };

  [[noreturn]] void refuse(const std::string& reason) const {
    fail<FormatError>({"JPEG, byte ", position_, ": ", reason});
  }

  int take8() {
    if (position_ >= bytes_.size()) refuse("the file ends early");
    return static_cast<int>(bytes_[position_++]);
  }
  int take16() {
    const int high = take8();
    return high * 256 + take8();
  }
  /// Reads a segment's length and returns where it ends.
  std::size_t segment() {
    const int length = take16();
    if (length < 2) refuse("a segment of length " + std::to_string(length));
    const std::size_t end = position_ + static_cast<std::size_t>(length) - 2;
    if (end > bytes_.size()) refuse("a segment goes beyond the end of the file");
    return end;
  }
  int next_marker() {
    if (take8() != 0xff) refuse("expected a marker");
    int marker = take8();
    while (marker == 0xff) marker = take8();
    return marker;
  }

  void quantization_tables() {
    const std::size_t end = segment();
    while (position_ < end) {
      const int head = take8();
      const int bytes = head >> 4 ? 128 : 64;
      if (head >> 4 > 1 || (head & 15) > 3) refuse("a quantization table that does not exist");
      if (position_ + static_cast<std::size_t>(bytes) > end) refuse("a quantization table is cut off");
      position_ += static_cast<std::size_t>(bytes);
      quantization_defined_[static_cast<std::size_t>(head & 15)] = true;
    }
  }

  void huffman_tables() {
    const std::size_t end = segment();
    while (position_ < end) {
      const int head = take8();
      if (head >> 4 > 1 || (head & 15) > 3) refuse("a Huffman table that does not exist");
      if (position_ + 16 > end) refuse("a Huffman table is cut off");
      std::array<int, 17> counts{};
      std::int32_t total = 0;
      std::int32_t code = 0;
      Huffman table;
      for (std::size_t length = 1; length <= 16; ++length) {
        counts[length] = take8();
        table.position[length] = total - code;
        total += counts[length];
        code += counts[length];
        if (total > 256 || code > (1 << length)) refuse("a Huffman table with more codes than there can be");
        table.end[length] = code << (16 - length);
        code <<= 1;
      }
      if (position_ + static_cast<std::size_t>(total) > end) refuse("a Huffman table is cut off");
      for (std::int32_t i = 0; i < total; ++i) {
        table.values[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(take8());
      }
      std::size_t slot = 0, value = 0;
      for (std::size_t length = 1; length <= 9; ++length) {
        for (int i = 0; i < counts[length]; ++i, ++value) {
          for (std::size_t k = 0; k < std::size_t{1} << (9 - length); ++k) {
            table.quick[slot++] = static_cast<std::uint16_t>(length * 256 + table.values[value]);
          }
        }
      }
      table.defined = true;
      (head >> 4 ? ac_ : dc_)[static_cast<std::size_t>(head & 15)] = table;
    }
  }

  void frame(bool progressive) {
    if (info_.components != 0) refuse("a second image in the file");
    const std::size_t end = segment();
    if (take8() != 8) refuse("only 8 bits a sample are supported");
    info_.height = take16();
    info_.width = take16();
    const int count = take8();
    if (info_.width < 1 || info_.height < 1) refuse("an image without pixels");
    if (info_.width > limits_.side || info_.height > limits_.side || info_.width * info_.height > limits_.pixels) {
      refuse("an image of " + std::to_string(info_.width) + "x" + std::to_string(info_.height) +
             " pixels is larger than allowed");
    }
    if (count != 1 && count != 3) refuse(std::to_string(count) + " colour components (CMYK?): expected 1 or 3");
    if (end - position_ != static_cast<std::size_t>(count) * 3) refuse("a frame header of wrong length");
    info_.components = count;
    info_.progressive = progressive;
    int h_max = 1, v_max = 1, sum = 0;
    for (int c = 0; c < count; ++c) {
      Component& component = components_[static_cast<std::size_t>(c)];
      component.id = take8();
      for (int other = 0; other < c; ++other) {
        if (components_[static_cast<std::size_t>(other)].id == component.id) refuse("two components of one name");
      }
      const int sampling = take8();
      component.h = sampling >> 4;
      component.v = sampling & 15;
      component.quantization = take8();
      if (component.h < 1 || component.h > 4 || component.v < 1 || component.v > 4)
        refuse("a sampling factor not in 1..4");
      if (component.quantization > 3) refuse("a quantization table that does not exist");
      h_max = std::max(h_max, component.h);
      v_max = std::max(v_max, component.v);
      sum += component.h * component.v;
    }
    if (count > 1 && sum > 10) refuse("more than ten blocks in a coding unit");
    units_x_ = (info_.width + h_max * 8 - 1) / (h_max * 8);
    units_y_ = (info_.height + v_max * 8 - 1) / (v_max * 8);
    for (int c = 0; c < count; ++c) {
      Component& component = components_[static_cast<std::size_t>(c)];
      if (h_max % component.h != 0 || v_max % component.v != 0) refuse("fractional sampling is not supported");
      component.blocks_x = ((info_.width * component.h + h_max - 1) / h_max + 7) / 8;
      component.blocks_y = ((info_.height * component.v + v_max - 1) / v_max + 7) / 8;
      component.padded_x = units_x_ * component.h;
      const auto blocks = static_cast<std::size_t>(component.padded_x * units_y_ * component.v);
      info_.plane_bytes += blocks * 64;
      component.bit.fill(-1);
    }
    if (info_.plane_bytes > limits_.heap_bytes) refuse("the image needs more memory than allowed");
    for (Component& component : components_) {
      if (progressive)
        component.nonzero.assign(static_cast<std::size_t>(component.padded_x * units_y_ * component.v), 0);
    }
  }

  void scan() {
    if (info_.components == 0) refuse("data before the frame header");
    if (++scans_ > limits_.scans) refuse("more than " + std::to_string(limits_.scans) + " scans");
    const std::size_t end = segment();
    const int count = take8();
    if (count < 1 || count > info_.components || end - position_ != static_cast<std::size_t>(count) * 2 + 3) {
      refuse("a scan header of wrong length");
    }
    std::array<Component*, 3> parts{};
    for (std::size_t k = 0; k < static_cast<std::size_t>(count); ++k) {
      const int id = take8();
      for (Component& component : components_) {
        if (&component - components_.data() < info_.components && component.id == id) parts[k] = &component;
      }
      if (parts[k] == nullptr) refuse("a scan of a component that does not exist");
      for (std::size_t other = 0; other < k; ++other) {
        if (parts[other] == parts[k]) refuse("a component twice in a scan");
      }
      const int tables = take8();
      parts[k]->dc_table = tables >> 4;
      parts[k]->ac_table = tables & 15;
      if (parts[k]->dc_table > 3 || parts[k]->ac_table > 3) refuse("a Huffman table that does not exist");
      if (!quantization_defined_[static_cast<std::size_t>(parts[k]->quantization)])
        refuse("a quantization table is missing");
    }
    first_ = take8();
    last_ = take8();
    const int planes = take8();
    high_ = planes >> 4;
    low_ = planes & 15;
    const std::span<Component*> used(parts.data(), static_cast<std::size_t>(count));
    info_.progressive ? check_progression(used) : check_sequential(used);
    entropy(used);
  }

  void check_sequential(std::span<Component*> parts) {
    if (first_ != 0 || high_ != 0 || low_ != 0) refuse("a progressive scan in a sequential image");
    for (Component* part : parts) {
      if (part->seen) refuse("a component coded twice");
      part->seen = true;
      if (!dc_[static_cast<std::size_t>(part->dc_table)].defined ||
          !ac_[static_cast<std::size_t>(part->ac_table)].defined) {
        refuse("a Huffman table is missing");
      }
    }
  }

  /// Each coefficient comes first with its upper bits and then bit by bit, each scan going on where the one before
  /// ended.
  void check_progression(std::span<Component*> parts) {
    if (first_ > last_ || last_ > 63 || low_ > 13 || (first_ == 0 && last_ != 0) ||
        (first_ != 0 && parts.size() != 1) || (high_ != 0 && low_ != high_ - 1)) {
      refuse("a scan that no progressive image has");
    }
    for (Component* part : parts) {
      if (first_ != 0 && part->bit[0] < 0) refuse("a scan of details before that of the means");
      for (int k = first_; k <= last_; ++k) {
        auto& bit = part->bit[static_cast<std::size_t>(k)];
        if (high_ == 0 ? bit >= 0 : bit != high_) refuse("scans that do not follow from each other");
        bit = static_cast<std::int8_t>(low_);
      }
      part->seen = true;
      if (first_ == 0 && high_ == 0 && !dc_[static_cast<std::size_t>(part->dc_table)].defined) {
        refuse("a Huffman table is missing");
      }
      if (first_ != 0 && !ac_[static_cast<std::size_t>(part->ac_table)].defined) refuse("a Huffman table is missing");
    }
  }

  // Entropy-coded data: bits from the left of `buffer_`, `available_` of them real.
  void fill() {
    while (available_ <= 56 && position_ < bytes_.size()) {
      const auto byte = static_cast<std::uint64_t>(bytes_[position_]);
      if (byte == 0xff) {
        if (position_ + 1 >= bytes_.size() || bytes_[position_ + 1] != std::byte{0}) return;
        ++position_;
      }
      ++position_;
      buffer_ |= byte << (56 - available_);
      available_ += 8;
    }
  }
  void need(int bits) {
    if (available_ >= bits) return;
    fill();
    if (available_ < bits) refuse("the data of a scan ends early");
  }
  void skip(int bits) {
    buffer_ <<= bits;
    available_ -= bits;
  }
  int take(int bits) {
    if (bits == 0) return 0;
    need(bits);
    const auto value = static_cast<int>(buffer_ >> (64 - bits));
    skip(bits);
    return value;
  }
  int decode(const Huffman& table) {
    if (available_ < 16) fill();
    const std::uint16_t quick = table.quick[buffer_ >> 55];
    if (quick != 0) {
      const int length = quick >> 8;
      if (length > available_) refuse("the data of a scan ends early");
      skip(length);
      return quick & 255;
    }
    const auto peek = static_cast<std::int32_t>(buffer_ >> 48);
    for (std::size_t length = 1; length <= 16; ++length) {
      if (peek >= table.end[length]) continue;
      const int bits = static_cast<int>(length);
      if (bits > available_) refuse("the data of a scan ends early");
      skip(bits);
      return table.values[static_cast<std::size_t>((peek >> (16 - length)) + table.position[length])];
    }
    if (available_ < 16) refuse("the data of a scan ends early");
    refuse("a code that its table does not have");
  }
  /// A number of `bits` bits, of which the smaller half of the values stands for negative ones.
  int magnitude(int bits) {
    const int value = take(bits);
    return bits != 0 && value < (1 << (bits - 1)) ? value - (1 << bits) + 1 : value;
  }

  void dc(Component& part) {
    const int bits = decode(dc_[static_cast<std::size_t>(part.dc_table)]);
    if (bits > 15) refuse("a difference of more than 15 bits");
    part.dc += magnitude(bits);
    if (std::abs(part.dc) > (32767 >> low_)) refuse("a mean out of range");
  }

  void sequential_block(Component& part) {
    dc(part);
    const Huffman& table = ac_[static_cast<std::size_t>(part.ac_table)];
    for (int k = 1; k < 64;) {
      const int symbol = decode(table);
      const int bits = symbol & 15, run = symbol >> 4;
      if (bits == 0) {
        if (run != 15) return;
        k += 16;
      } else {
        k += run + 1;
        take(bits);
      }
      if (k > 64) refuse("more than 64 coefficients in a block");
    }
  }

  void first_details(const Component& part, std::uint64_t& nonzero) {
    if (zero_blocks_ > 0) {
      --zero_blocks_;
      return;
    }
    const Huffman& table = ac_[static_cast<std::size_t>(part.ac_table)];
    for (int k = first_; k <= last_;) {
      const int symbol = decode(table);
      const int bits = symbol & 15, run = symbol >> 4;
      if (bits == 0) {
        if (run != 15) {
          zero_blocks_ = (1 << run) - 1 + take(run);
          return;
        }
        k += 16;
      } else {
        k += run + 1;
        if (k - 1 > last_) refuse("more coefficients than the scan has");
        if (std::abs(magnitude(bits)) > (32767 >> low_)) refuse("a coefficient out of range");
        nonzero |= std::uint64_t{1} << (k - 1);
      }
      if (k > last_ + 1) refuse("more coefficients than the scan has");
    }
  }

  /// One bit for each coefficient that is not zero, between them new ones of value +-1.
  void more_details(const Component& part, std::uint64_t& nonzero) {
    const std::uint64_t band = (~std::uint64_t{0} >> (63 - last_ + first_)) << first_;
    if (zero_blocks_ > 0) {
      --zero_blocks_;
      take_each(nonzero & band);
      return;
    }
    const Huffman& table = ac_[static_cast<std::size_t>(part.ac_table)];
    for (int k = first_; k <= last_;) {
      const int symbol = decode(table);
      const int bits = symbol & 15;
      int run = symbol >> 4;
      if (bits == 0 && run != 15) {
        zero_blocks_ = (1 << run) - 1 + take(run);
        take_each(nonzero & band & (~std::uint64_t{0} << k));
        return;
      }
      if (bits > 1) refuse("a new coefficient of more than one bit");
      if (bits == 1) take(1);
      bool placed = false;
      for (; k <= last_ && !placed; ++k) {
        const std::uint64_t here = std::uint64_t{1} << k;
        if (nonzero & here) {
          take(1);
        } else if (run-- == 0) {
          placed = true;
          if (bits == 1) nonzero |= here;
        }
      }
      if (!placed) refuse("more coefficients than the scan has");
    }
  }
  void take_each(std::uint64_t coefficients) {
    int bits = std::popcount(coefficients);
    for (; bits > 16; bits -= 16) take(16);
    take(bits);
  }

  void block(Component& part, index_t x, index_t y) {
    if (!info_.progressive) {
      sequential_block(part);
    } else if (first_ == 0) {
      high_ == 0 ? dc(part) : static_cast<void>(take(1));
    } else {
      std::uint64_t& nonzero = part.nonzero[static_cast<std::size_t>(y * part.padded_x + x)];
      high_ == 0 ? first_details(part, nonzero) : more_details(part, nonzero);
    }
  }

  void restart(std::span<Component*> parts) {
    buffer_ = 0;
    available_ = 0;
    zero_blocks_ = 0;
    for (Component* part : parts) part->dc = 0;
  }

  void entropy(std::span<Component*> parts) {
    restart(parts);
    // A scan of one component has its blocks one by one, without those that only pad coding units.
    const bool alone = parts.size() == 1;
    const index_t units_x = alone ? parts[0]->blocks_x : units_x_;
    const index_t units_y = alone ? parts[0]->blocks_y : units_y_;
    int restarts = 0;
    int left = restart_interval_;
    for (index_t y = 0; y < units_y; ++y) {
      for (index_t x = 0; x < units_x; ++x) {
        if (restart_interval_ != 0 && left-- == 0) {
          // At most seven bits may be left in front of the marker.
          fill();
          if (available_ >= 8) refuse("data where a restart marker is due");
          if (next_marker() != 0xd0 + restarts % 8) refuse("a restart marker is missing");
          ++restarts;
          left = restart_interval_ - 1;
          restart(parts);
        }
        if (alone) {
          block(*parts[0], x, y);
          continue;
        }
        for (Component* part : parts) {
          for (int v = 0; v < part->v; ++v) {
            for (int h = 0; h < part->h; ++h) block(*part, x * part->h + h, y * part->v + v);
          }
        }
      }
    }
    // Padding may follow, then a marker.
    while (position_ < bytes_.size() && bytes_[position_] != std::byte{0xff}) ++position_;
    if (position_ + 1 < bytes_.size() && bytes_[position_ + 1] == std::byte{0}) refuse("data beyond the end of a scan");
  }

  std::span<const std::byte> bytes_;
  JpegLimits limits_;
  std::size_t position_ = 0;
  JpegInfo info_;
  std::array<Component, 3> components_;
  std::array<Huffman, 4> dc_, ac_;
  std::array<bool, 4> quantization_defined_{};
  index_t units_x_ = 0, units_y_ = 0;
  int restart_interval_ = 0;
  int scans_ = 0;
  int first_ = 0, last_ = 0, high_ = 0, low_ = 0;  // of the scan: coefficients and bit planes
  int zero_blocks_ = 0;                            // that follow without a code
  std::uint64_t buffer_ = 0;
  int available_ = 0;
};

}  // namespace mien::detail
