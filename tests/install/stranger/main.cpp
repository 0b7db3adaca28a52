#include <cstdio>
#include <mien/mien.hpp>
#ifdef WITH_COMPONENTS
#include <cascade/detector.hpp>
#include <cascade/xml.hpp>
#include <fer/fer2013.hpp>
#endif

mien::index_t parameters_of_other();

int main() {
  mien::Sequential<float> net{mien::Conv2d{2, 3}, mien::Relu{}, mien::Flatten{}, mien::Dense{7}};
  net.build({6, 6, 1}, 1);
  mien::index_t count = 0;
  for (const auto& parameter : net.parameters()) count += parameter.value.size();
  const mien::Threads threads(2);
  // 2 x 3 x 3 weights and 2 biases; 7 x 4 x 4 x 2 weights and 7 biases.
  const bool right = count == 18 + 2 + 224 + 7 && parameters_of_other() == 15 && threads.count() == 2;
  std::printf(right ? "mien %s at work\n" : "mien %s does not work\n", MIEN_VERSION);
  return right ? 0 : 1;
}
