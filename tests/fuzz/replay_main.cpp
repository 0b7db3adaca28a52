// A plain main for fuzz targets: gives each named file, and each file in a named folder, to LLVMFuzzerTestOneInput.
// So any compiler replays seeds and earlier findings as a test. Exit status 2 if there was nothing to replay.
#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
// Of the targets that have it: nothing is mutated here.
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t*, std::size_t size, std::size_t) { return size; }

namespace {

void collect(const std::string& path, std::vector<std::string>& files) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return;
  if (!S_ISDIR(status.st_mode)) {
    files.push_back(path);
    return;
  }
  DIR* const folder = ::opendir(path.c_str());
  if (folder == nullptr) return;
  while (const dirent* const entry = ::readdir(folder)) {
    const std::string name = entry->d_name;
    if (name[0] != '.') collect(path + "/" + name, files);
  }
  ::closedir(folder);
}

}  // namespace

int main(int count, char** arguments) {
  std::vector<std::string> files;
  for (int i = 1; i < count; ++i) collect(arguments[i], files);
  std::sort(files.begin(), files.end());
  std::size_t replayed = 0;
  for (const std::string& path : files) {
    std::FILE* const file = std::fopen(path.c_str(), "rb");
    if (file == nullptr) {
      std::fprintf(stderr, "cannot read %s\n", path.c_str());
      return 2;
    }
    // Exactly as large as the input, so that a sanitizer sees one byte read too many.
    std::vector<std::uint8_t> bytes;
    std::uint8_t block[65536];
    for (std::size_t got; (got = std::fread(block, 1, sizeof block, file)) > 0;) {
      bytes.insert(bytes.end(), block, block + got);
    }
    std::fclose(file);
    bytes.shrink_to_fit();
    std::fprintf(stderr, "%s\n", path.c_str());  // the last line before a crash names the input
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    ++replayed;
  }
  std::printf("%zu inputs replayed\n", replayed);
  return replayed > 0 ? 0 : 2;
}
