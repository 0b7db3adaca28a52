// What PyTorch computes for layers and small networks: see golden/make_layer_golden.py.
#pragma once

#include <string>
#include <vector>

#include "mien/io/safetensors.hpp"
#include "nn_test.hpp"

namespace mien::test {

class LayerGolden {
 public:
  /// `name` is a file of tests/data/layers.
  explicit LayerGolden(const std::string& name) : file_(folder() + name) {}

  bool has(const std::string& name) const { return file_.content().find(name) != nullptr; }
  template <class V = double>
  Tensor<V> get(const std::string& name) const {
    const SafetensorsEntry* entry = file_.content().find(name);
    if (entry == nullptr) FAIL("no golden tensor called " << name);
    return read_tensor<V>(*entry);
  }
  const std::vector<SafetensorsEntry>& entries() const { return file_.content().entries(); }

  /// Assigns the parameter from the tensor of that name, permuting the columns of a dense layer behind an image.
  template <class P>
  void load(Parameter<P>& p, const std::string& name) const {
    const Tensor<P> stored = get<P>(name);
    CHECK_MESSAGE(stored.shape() == p.value.shape(), name << " has another shape");
    if (stored.shape() == p.value.shape()) p.value = p.columns.rank() == 3 ? to_nhwc(stored, p.columns) : stored;
  }

  /// The columns of a weight or its gradient from (channels, height, width) to (height, width, channels) order.
  template <class P>
  static Tensor<P> to_nhwc(const Tensor<P>& from, const Shape& image) {
    Tensor<P> to(from.shape());
    const index_t h = image[0], w = image[1], c = image[2];
    for (index_t k = 0; k < from.shape()[0]; ++k)
      for (index_t i = 0; i < h; ++i)
        for (index_t j = 0; j < w; ++j)
          for (index_t m = 0; m < c; ++m) to[((k * h + i) * w + j) * c + m] = from[((k * c + m) * h + i) * w + j];
    return to;
  }

 private:
  static std::string folder() {
    const std::string here = __FILE__;  // test data lie beside this file
    return here.substr(0, here.rfind('/') + 1) + "data/layers/";
  }
  SafetensorsFile file_;
};

}  // namespace mien::test
