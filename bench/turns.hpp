// Taking turns: mien and its peer one after the other, so that both meet the same machine, whose speed drifts.
#pragma once

#include <benchmark/benchmark.h>
#include <time.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <vector>

namespace mien::bench {

/// Seconds of the calling thread's processor time, to which a machine shared with others does not count its delays; of
/// the wall clock where more threads than one work.
inline double seconds(bool wall) {
  timespec t{};
  clock_gettime(wall ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

/// Alternations of each comparison: 15, or what MIEN_BENCH_TURNS says.
inline benchmark::IterationCount turns() {
  const char* text = std::getenv("MIEN_BENCH_TURNS");
  const int count = text != nullptr ? std::atoi(text) : 0;
  return count > 0 ? count : 15;
}

/// Seconds of a turn.
struct Medians {
  double ours, theirs;
};

/// Runs mien and its peer in turns, either of them first in every other turn, and reports the median, the smallest and
/// the largest of the ratios (peer's time over mien's: above 1, mien is faster). What takes less than a millisecond is
/// done as often as fills one, by both as often: the clock alone takes a part of a microsecond, and the first call
/// finds the other's data in the caches.
template <class Mien, class Peer>
Medians take_turns(benchmark::State& state, bool wall, Mien&& mien, Peer&& peer) {
  std::vector<double> ours, theirs, ratios;
  int calls = 1;
  const auto time = [&](auto& work) {
    const double start = seconds(wall);
    for (int i = 0; i < calls; ++i) work();
    return (seconds(wall) - start) / calls;
  };
  mien();
  peer();
  const double shortest = std::min(time(mien), time(peer));
  calls = std::clamp(static_cast<int>(1e-3 / std::max(shortest, 1e-7)), 1, 1000);
  for (auto _ : state) {
    const bool first = ours.size() % 2 == 0;
    if (first) ours.push_back(time(mien));
    theirs.push_back(time(peer));
    if (!first) ours.push_back(time(mien));
    ratios.push_back(theirs.back() / ours.back());
    state.SetIterationTime(ours.back());
  }
  state.counters["ratio"] = median(ratios);
  state.counters["ratio_low"] = *std::min_element(ratios.begin(), ratios.end());
  state.counters["ratio_high"] = *std::max_element(ratios.begin(), ratios.end());
  return {median(ours), median(theirs)};
}

}  // namespace mien::bench
