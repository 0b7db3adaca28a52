// What tests/fault/save_faults.py drives: saves a version of a model file, or says which version a file holds.
//
//   save_program save PATH VERSION ELEMENTS    exit status 0, or 1 with the error
//   save_program check PATH                    prints the version if every bit of the file is right, else status 1
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "mien/core/random.hpp"
#include "mien/io/safetensors.hpp"

namespace {

struct Version {
  mien::Tensor<float> weight;
  mien::Tensor<mien::bfloat16> coarse;
  mien::Tensor<std::int64_t> count;

  Version(std::uint64_t seed, mien::index_t elements)
      : weight(mien::Shape{elements}), coarse(mien::Shape{3, 5}), count(mien::Shape{}) {
    const mien::Random random(seed, mien::Stream::user);
    std::uint64_t i = 0;
    for (float& value : weight) value = random.uniform(i++);
    for (mien::bfloat16& value : coarse) value = mien::bfloat16(random.uniform(i++));
    count[0] = static_cast<std::int64_t>(seed);
  }

  std::vector<mien::SafetensorsEntry> entries() const {
    return {mien::SafetensorsEntry::of("weight", weight), mien::SafetensorsEntry::of("coarse", coarse),
            mien::SafetensorsEntry::of("count", count)};
  }
};

int check(const std::string& path) {
  const mien::SafetensorsFile file(path);
  const mien::SafetensorsEntry* const count = file.content().find("count");
  const mien::SafetensorsEntry* const weight = file.content().find("weight");
  if (count == nullptr || weight == nullptr) mien::fail<mien::FormatError>(path + ": of another program");
  const auto seed = static_cast<std::uint64_t>(mien::read_tensor<std::int64_t>(*count)[0]);
  const Version version(seed, weight->shape().size());
  if (mien::safetensors_bytes(version.entries()) != mien::read_file(path, 1 << 28)) {
    mien::fail<mien::FormatError>(path + ": not the bytes that were saved");
  }
  std::printf("%llu\n", static_cast<unsigned long long>(seed));
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  const std::string command = count > 2 ? arguments[1] : "";
  try {
    if (command == "check") return check(arguments[2]);
    if (command == "save" && count == 5) {
      const Version version(std::strtoull(arguments[3], nullptr, 10), std::atol(arguments[4]));
      mien::write_safetensors(arguments[2], version.entries());
      return 0;
    }
  } catch (const mien::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  std::fprintf(stderr, "usage: save_program save PATH VERSION ELEMENTS | check PATH\n");
  return 2;
}
