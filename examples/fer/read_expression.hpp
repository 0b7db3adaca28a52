// An expression model at work: faces to probabilities.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "fer/face_crop.hpp"
#include "fer/program.hpp"
#include "mien/nn/loss.hpp"

namespace mien::fer {

/// Probabilities (n, 7) of faces as one answers a request: no thread is started, one network serves any number of
/// threads, each with its workspace. The same values as predict() gives, and NumericError where they are not finite.
inline std::vector<float> read_expressions(const Sequential<float>& net, const FaceImages& faces,
                                           const Preprocessing& p, bool ten_crop, Workspace& workspace) {
  std::vector<float> mean(static_cast<std::size_t>(faces.size() * class_count), 0.0f);
  const ByteDataset dataset = to_dataset(faces, p);
  const Views views(dataset, p.crop, ten_crop);
  const float weight = 1.0f / static_cast<float>(views.all().size());
  constexpr index_t most = 32;  // faces at a time
  for (const Dataset* view : views.all()) {
    for (index_t first = 0; first < faces.size(); first += most) {
      const index_t count = std::min(most, faces.size() - first);
      const index_t values = view->shape().size();
      Tensor<float> x(view->shape().with_batch(count)), y(Shape{count, class_count});
      for (index_t i = 0; i < count; ++i) {
        view->get(first + i, {},
                  x.span().subspan(static_cast<std::size_t>(i * values), static_cast<std::size_t>(values)));
      }
      net.infer(x.view(), y.view(), workspace);
      if (!std::all_of(y.begin(), y.end(), [](float value) { return std::isfinite(value); })) {
        fail<NumericError>("the network's answers are not finite: is its file, or the delta's, damaged?");
      }
      softmax(TensorView<const float>(y.view()), y.view());
      for (index_t i = 0; i < y.size(); ++i) mean[static_cast<std::size_t>(first * class_count + i)] += weight * y[i];
    }
  }
  return mean;
}

/// Gray as the model's preprocessing weighs red, green and blue. With the usual weights (0.299, 0.587, 0.114) that is
/// gray_of(), to the bit.
inline Image gray_for(const Preprocessing& p, const ImageView& picture) {
  const Preprocessing usual;
  if (picture.channels == 1 || (p.red == usual.red && p.green == usual.green && p.blue == usual.blue)) {
    return with_channels(picture, 1);
  }
  Image gray{picture.width, picture.height, 1, {}};
  gray.pixels.reserve(static_cast<std::size_t>(picture.width * picture.height));
  for (index_t y = 0; y < picture.height; ++y) {
    const std::uint8_t* pixel = picture.row(y);
    for (index_t x = 0; x < picture.width; ++x, pixel += 3) {
      const float value = p.red * static_cast<float>(pixel[0]) + p.green * static_cast<float>(pixel[1]) +
                          p.blue * static_cast<float>(pixel[2]);
      gray.pixels.push_back(static_cast<std::uint8_t>(std::clamp(value + 0.5f, 0.0f, 255.0f)));
    }
  }
  return gray;
}

}  // namespace mien::fer
