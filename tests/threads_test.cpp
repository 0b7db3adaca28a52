#include "mien/core/threads.hpp"

#include <doctest/doctest.h>

#ifdef __linux__
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <atomic>
#include <chrono>
#include <fstream>
#include <limits>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "sanitized.hpp"

using namespace mien;

TEST_CASE("threads: every index once, for any number of threads and pieces") {
  for (int count : {1, 2, 3, 8}) {
    const Threads threads(count);
    CHECK(threads.count() == count);
    for (index_t n : {0, 1, 2, 3, 100, 1000}) {
      std::vector<std::atomic<int>> calls(static_cast<std::size_t>(n));
      threads.parallel_for(n, [&](index_t i) { ++calls[static_cast<std::size_t>(i)]; });
      bool once = true;
      for (const auto& c : calls) once = once && c == 1;
      CHECK(once);
    }
  }
}

TEST_CASE("threads: who works is one of as many as are needed, and each does one thing at a time") {
  for (int count : {1, 2, 5}) {
    const Threads threads(count);
    for (index_t n : {1, 2, 3, 7, 200}) {
      const int workers = Threads::workers(count, n);
      CHECK(workers == std::min(count, static_cast<int>(n)));
      std::vector<std::atomic<int>> busy(static_cast<std::size_t>(workers));
      std::atomic<bool> alone{true};
      for (int round = 0; round < 50; ++round) {
        threads.parallel_for(n, [&](index_t, int worker) {
          if (worker < 0 || worker >= workers || busy[static_cast<std::size_t>(worker)].exchange(1) != 0) {
            alone = false;
          } else {
            std::this_thread::yield();
            busy[static_cast<std::size_t>(worker)] = 0;
          }
        });
      }
      CHECK(alone);
    }
  }
}

TEST_CASE("threads: many short loops in a row") {
  const Threads threads(4);
  std::atomic<int> sum{0};
  for (int round = 0; round < 3000; ++round) threads.parallel_for(3, [&](index_t) { ++sum; });
  CHECK(sum == 9000);
}

TEST_CASE("threads: an exception reaches the caller, and the pool goes on") {
  for (int count : {1, 3}) {
    const Threads threads(count);
    for (int round = 0; round < 20; ++round) {
      const auto bad = [](index_t i) {
        if (i == 7) throw std::runtime_error("seven");
      };
      CHECK_THROWS_WITH_AS(threads.parallel_for(50, bad), "seven", std::runtime_error);
      std::atomic<int> calls{0};
      threads.parallel_for(10, [&](index_t) { ++calls; });
      CHECK(calls == 10);
    }
  }
}

TEST_CASE("threads: a loop inside a loop, and two callers at once") {
  const Threads threads(3);
  std::atomic<int> calls{0};
  threads.parallel_for(5, [&](index_t) { threads.parallel_for(7, [&](index_t) { ++calls; }); });
  CHECK(calls == 35);
  CHECK_THROWS_AS(threads.parallel_for(4,
                                       [&](index_t) {
                                         threads.parallel_for(4, [](index_t i) {
                                           if (i == 2) throw std::logic_error("inner");
                                         });
                                       }),
                  std::logic_error);
  calls = 0;
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      for (int round = 0; round < 200; ++round) threads.parallel_for(6, [&](index_t) { ++calls; });
    });
  }
  for (auto& caller : callers) caller.join();
  CHECK(calls == 4 * 200 * 6);
}

TEST_CASE("threads: the others take part") {
  const Threads threads(3);
  std::mutex mutex;
  std::set<std::thread::id> ids;
  threads.parallel_for(3, [&](index_t) {
    {
      const std::lock_guard lock(mutex);
      ids.insert(std::this_thread::get_id());
    }
    // Held until all three have come, as far as a loaded machine allows.
    for (int wait = 0; wait < 2000; ++wait) {
      {
        const std::lock_guard lock(mutex);
        if (ids.size() == 3) break;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  CHECK(ids.size() == 3);
}

#if defined(__linux__) && MIEN_HAS_THREADS
namespace {

std::atomic<bool> held{false}, released{false};

void hold(int) {
  held = true;
  while (!released) usleep(1000);
}

/// 'S' for one that sleeps.
char state_of(pid_t thread) {
  std::ifstream file("/proc/self/task/" + std::to_string(thread) + "/stat");
  std::string text;
  std::getline(file, text);
  const std::size_t name_ends = text.rfind(") ");
  return name_ends == std::string::npos ? '?' : text[name_ends + 2];
}

}  // namespace

TEST_CASE("threads: nobody waits for a worker that does not come") {
  const Threads threads(2);
  const pthread_t caller = pthread_self();
  pthread_t worker = caller;
  std::atomic<pid_t> id{0};
  threads.parallel_for(2, [&](index_t) {
    if (!pthread_equal(pthread_self(), caller)) {
      worker = pthread_self();
      id = gettid();
    }
    for (int wait = 0; id == 0 && wait < 10000; ++wait) usleep(1000);
  });
  REQUIRE(id != 0);
  while (state_of(id) != 'S') usleep(1000);
  struct sigaction action {
  }, before{};
  action.sa_handler = hold;
  REQUIRE(sigaction(SIGUSR1, &action, &before) == 0);
  REQUIRE(pthread_kill(worker, SIGUSR1) == 0);
  while (!held) usleep(1000);
  std::atomic<int> calls{0};
  for (int round = 0; round < 100; ++round) threads.parallel_for(5, [&](index_t) { ++calls; });
  CHECK(calls == 500);
  released = true;
  sigaction(SIGUSR1, &before, nullptr);
}

namespace {

void hold_a_moment(int) {
  held = true;
  usleep(100);
}

}  // namespace

TEST_CASE("threads: a pool ends, wherever its workers are held") {
  // A worker that looks for the end and then for what is new, and is held in between, sleeps for ever: one round in 250
  // met that.
  struct sigaction action {
  }, before{};
  action.sa_handler = hold_a_moment;
  REQUIRE(sigaction(SIGUSR1, &action, &before) == 0);
  for (int round = 0; round < 1500; ++round) {
    held = false;
    std::thread sender;
    {
      const Threads threads(2);
      const pthread_t caller = pthread_self();
      pthread_t worker = caller;
      std::atomic<bool> known{false};
      threads.parallel_for(2, [&](index_t) {
        if (!pthread_equal(pthread_self(), caller)) {
          worker = pthread_self();
          known = true;
        }
        while (!known) std::this_thread::yield();
      });
      sender = std::thread([worker] { pthread_kill(worker, SIGUSR1); });
      while (!held) threads.parallel_for(2, [](index_t) {});
      sender.join();
    }
  }
  sigaction(SIGUSR1, &before, nullptr);
}

TEST_CASE("threads: where the system starts no more of them, an error says so, and those that run are ended") {
  if (test::sanitized) {
    MESSAGE("skipped: a sanitizer needs its address space");
    return;
  }
  const pid_t child = fork();
  if (child == 0) {
    const rlimit none{0, 0};
    // Also of root: a thread's stack finds no room.
    std::size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const rlim_t bytes = pages * 4096 + (std::size_t{100} << 20);
    const rlimit little{bytes, bytes};
    setrlimit(RLIMIT_CORE, &none);
    setrlimit(RLIMIT_AS, &little);
    try {
      const Threads threads(200);
    } catch (const Error& error) {
      const std::string text = error.what();
      _exit(text.find("of 200 threads") != std::string::npos && text.find("ask for fewer") != std::string::npos ? 0
                                                                                                                : 1);
    }
    _exit(2);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}
#endif

TEST_CASE("threads: counts out of range are refused, and zero means all cores") {
  CHECK_THROWS_AS(Threads(-1), ArgumentError);
  CHECK_THROWS_AS(Threads(1025), ArgumentError);
  CHECK(Threads(0).count() >= 1);
}

TEST_CASE("threads: subnormal numbers are zeros inside, and what they were outside") {
#ifndef __x86_64__
  MESSAGE("skipped: only x86 is slowed down by subnormal numbers");
#else
  volatile float smallest = std::numeric_limits<float>::denorm_min(), normal = std::numeric_limits<float>::min();
  const auto operand = [&] { return smallest * 4.0f == 0.0f; };
  const auto result = [&] { return normal * 0.25f == 0.0f; };
  for (int count : {1, 3}) {
    const Threads threads(count);
    for (index_t n : {1, 50}) {
      std::atomic<int> zeros{0};
      threads.parallel_for(n, [&](index_t) {
        zeros += operand() + result();
        threads.parallel_for(2, [&](index_t) {});
        zeros += operand() + result();
      });
      CHECK(zeros == 4 * n);
      CHECK(!operand());
      CHECK(!result());
    }
    CHECK_THROWS(threads.parallel_for(3, [](index_t) { throw 1; }));
    CHECK(!operand());
    CHECK(!result());
  }
#endif
}
