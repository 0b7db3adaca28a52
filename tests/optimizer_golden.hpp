// What PyTorch computes for losses, optimizers and schedules: see golden/make_optimizer_golden.py.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <vector>

namespace mien::test {

inline const std::vector<double>& golden(const std::string& name) {
  struct Entry {
    const char* name;
    std::vector<double> values;
  };
  static const Entry entries[] = {
#include "data/optimizer_golden.inc"
  };
  for (const Entry& entry : entries)
    if (entry.name == name) return entry.values;
  FAIL("no golden values called " << name);
  static const std::vector<double> none;
  return none;
}

/// Largest |a - b| / max(|b|, floor); infinite if sizes differ or a value is not finite.
template <class A>
double largest_error(std::span<const A> a, const std::vector<double>& b, double floor = 1e-3) {
  double worst = a.size() == b.size() && !b.empty() ? 0 : INFINITY;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const double error = std::abs(static_cast<double>(a[i]) - b[i]) / std::max(std::abs(b[i]), floor);
    worst = std::isfinite(error) ? std::max(worst, error) : INFINITY;
  }
  return worst;
}

}  // namespace mien::test
