// What a network's last dense layer reads: the features on which a personal head is trained.
#pragma once

#include <vector>

#include "fer/program.hpp"
#include "mien/train/features.hpp"

namespace mien::fer {

/// Number of the last layer that is Dense; it must be the network's last. Throws ArgumentError otherwise.
inline index_t head_layer(const Sequential<float>& net) {
  const index_t last = net.layer_count() - 1;
  if (net.layer_kind(last) != Dense::kind) {
    fail<ArgumentError>("the network ends with " + std::string(net.layer_kind(last)) + ", not with a dense layer");
  }
  return last;
}

/// Features (n, d) in front of layer `layers`: mean of those of the picture's centre and of its mirror image.
inline Tensor<float> mirrored_features(const Sequential<float>& net, index_t layers, const Dataset& faces, index_t crop,
                                       Workspace& workspace) {
  Tensor<float> sum;
  for (const int which : {4, 9}) {
    const Cropped view(faces, crop, which);
    CachedFeatures features(net, layers, view, workspace);
    if (which == 4) {
      sum = std::move(features.values());
    } else {
      for (index_t i = 0; i < sum.size(); ++i) sum[i] = 0.5f * (sum[i] + features.values()[i]);
    }
  }
  return sum;
}

}  // namespace mien::fer
