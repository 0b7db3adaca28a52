// Detecting in frames of one size allocates nothing after the first: counted at operator new, so in a program of its
// own.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "../asked_isa.hpp"
#include "../cascade_cases.hpp"
#include "cascade/xml.hpp"

namespace {

std::atomic<long> allocations{0};

// Neither is inlined: GCC would take free() of what its operator new returned for a mistake.
[[gnu::noinline]] void released(void* p) noexcept { std::free(p); }

[[gnu::noinline]] void* counted(std::size_t size, std::size_t alignment) {
  ++allocations;
  void* pointer = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment + alignment);
  if (pointer == nullptr) throw std::bad_alloc();
  return pointer;
}

}  // namespace

void* operator new(std::size_t size) { return counted(size, alignof(std::max_align_t)); }
void* operator new[](std::size_t size) { return counted(size, alignof(std::max_align_t)); }
void* operator new(std::size_t size, std::align_val_t a) { return counted(size, static_cast<std::size_t>(a)); }
void* operator new[](std::size_t size, std::align_val_t a) { return counted(size, static_cast<std::size_t>(a)); }
void operator delete(void* p) noexcept { released(p); }
void operator delete[](void* p) noexcept { released(p); }
void operator delete(void* p, std::size_t) noexcept { released(p); }
void operator delete[](void* p, std::size_t) noexcept { released(p); }
void operator delete(void* p, std::align_val_t) noexcept { released(p); }
void operator delete[](void* p, std::align_val_t) noexcept { released(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { released(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { released(p); }

int main() {
  if (mien::test::asked_isa_is_missing()) return mien::test::skipped;
  using namespace cascade_cases;
  int passed = 0, failed = 0;
  const mien::Threads two(2);
  for (int kind = 0; kind < kinds; ++kind) {
    for (const mien::Isa isa : {mien::Isa::portable, mien::Isa::avx2, mien::Isa::avx512}) {
      for (const mien::Threads* threads : {static_cast<const mien::Threads*>(nullptr), &two}) {
        // Of the first cascades of this kind, the one that finds most in the frame.
        Draw draw(static_cast<std::uint64_t>(kind) + 50);
        const Picture picture = draw_picture(draw, 240, 180);
        std::string xml;
        std::size_t most = 0;
        for (std::uint64_t seed = 0; seed < 8; ++seed) {
          const std::string text = CascadeWriter(static_cast<Kind>(kind), seed).write();
          const std::size_t found = mc::detect(mc::parse_cascade(text), picture.view()).size();
          if (xml.empty() || found > most) xml = text, most = found;
        }
        const mc::Cascade cascade = mc::parse_cascade(xml);
        mc::Detector detector(cascade, isa);
        mc::Options options;
        options.threads = threads;
        detector.detect(picture.view(), options);
        // Frames of a film: what moves out of the picture comes in again at the other side.
        std::vector<std::uint8_t> frame = picture.pixels;
        const long before = allocations;
        for (int i = 0; i < 20; ++i) {
          std::rotate(frame.begin(), frame.begin() + 240 * 180 - 12, frame.end());
          detector.detect({frame.data(), 240, 180, 240, mc::PixelFormat::gray}, options);
        }
        const long made = allocations - before;
        if (made != 0) {
          std::printf("%s, %s, %d threads: %ld allocations in 20 frames\n", kind_names[kind],
                      std::string(mien::to_string(isa)).c_str(), threads != nullptr ? 2 : 1, made);
        }
        ++(made == 0 ? passed : failed);
      }
    }
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
