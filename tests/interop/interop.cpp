// Saves and opens networks for pytorch.py.
//
//   interop save NETWORK FILE        a model file with random parameters and statistics
//   interop model FILE INPUTS        logits of a model file, one number a line
//   interop weights NETWORK FILE INPUTS   logits of NETWORK with the parameters in FILE, as PyTorch saved them
//
// INPUTS is a safetensors file with a float tensor "x" (images, height, width, channels).
#include <cstdio>
#include <string>

#include "fer/networks.hpp"
#include "mien/io/model_file.hpp"
#include "mien/nn/combinators.hpp"

using namespace mien;

namespace {

struct Named {
  Sequential<float> net;
  Shape input;
};

Residual<float> block(index_t filters, index_t stride, bool identity) {
  Residual<float> result{Sequential<float>{Conv2d{.filters = filters, .stride = stride, .padding = 1, .bias = false},
                                           BatchNorm2d{}, Relu{},
                                           Conv2d{.filters = filters, .padding = 1, .bias = false}, BatchNorm2d{}}};
  if (!identity) {
    result.shortcut =
        Sequential<float>{Conv2d{.filters = filters, .kernel = 1, .stride = stride, .bias = false}, BatchNorm2d{}};
  }
  return result;
}

Named network(const std::string& name) {
  if (name == "plain") {
    // Odd sizes, so that a transposed picture, kernel or column would show.
    return {{Conv2d{.filters = 6, .kernel = {3, 5}, .stride = {2, 1}, .padding = {1, 2}}, Relu{},
             Conv2d{.filters = 8, .dilation = 2, .groups = 2}, BatchNorm2d{}, LeakyRelu{0.125f},
             Conv2d{.filters = 8, .padding = 1, .groups = 8, .bias = false}, MaxPool2d{2}, Flatten{}, Dense{10}, Tanh{},
             Dense{7}},
            {19, 13, 2}};
  }
  if (name == "residual") {
    Sequential<float> net;
    net.add("stem", Sequential<float>{Conv2d{.filters = 6, .padding = 1, .bias = false}, BatchNorm2d{}, Relu{}});
    net.add("body", Sequential<float>{block(6, 1, true), Relu{}, block(8, 2, false), Relu{}});
    net.add("classifier", Sequential<float>{Flatten{}, Dropout{0.5f}, Dense{7}});
    return {std::move(net), {11, 9, 3}};
  }
  const index_t side = fer::recipe_of(name).input;
  return {fer::make_network<float>(name), {side, side, 1}};
}

/// Values that no initializer gives, statistics among them, so that none can be mixed up.
void randomize(Sequential<float>& net) {
  const Random random(7, Stream::user);
  std::uint64_t next = 0;
  for (auto& p : net.parameters()) {
    const std::string_view name = p.name;
    const bool positive = name.size() > 4 && name.substr(name.size() - 4) == "_var";
    for (float& value : p.value) {
      const float drawn = static_cast<float>(random.uniform(next++, -1, 1));
      if (positive) {
        value = 1 + 0.5f * drawn;
      } else if (p.value.shape().rank() == 1) {
        value += 0.25f * drawn;
      }
    }
  }
}

void print_logits(const Sequential<float>& net, const std::string& inputs) {
  const SafetensorsFile file(inputs);
  const SafetensorsEntry* entry = file.content().find("x");
  if (entry == nullptr) fail<FormatError>(inputs + ": no tensor \"x\"");
  const Tensor<float> x = read_tensor<float>(*entry);
  Workspace workspace;
  for (const float value : net.infer(x.view(), workspace)) std::printf("%.9g\n", static_cast<double>(value));
}

int run(const std::vector<std::string>& a) {
  if (a.size() == 3 && a[0] == "save") {
    Named n = network(a[1]);
    n.net.build(n.input, 3);
    randomize(n.net);
    save(n.net, a[2]);
  } else if (a.size() == 3 && a[0] == "model") {
    print_logits(load<float>(a[1]).network, a[2]);
  } else if (a.size() == 4 && a[0] == "weights") {
    Named n = network(a[1]);
    n.net.build(n.input, 4);
    load_parameters(n.net, SafetensorsFile(a[2]).content(), a[2]);
    print_logits(n.net, a[3]);
  } else {
    fail<ArgumentError>("usage: interop save NETWORK FILE | model FILE INPUTS | weights NETWORK FILE INPUTS");
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "interop: %s\n", error.what());
    return 2;
  }
}
