#include <mien/mien.hpp>

mien::index_t parameters_of_other();
mien::index_t parameters_of_other() {
  mien::Sequential<float> net{mien::Dense{3}};
  net.build({4}, 1);
  mien::index_t count = 0;
  for (const auto& parameter : net.parameters()) count += parameter.value.size();
  return count;
}
