#include "cpu/thread_pool.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "cpu/worker_count.h"

namespace pagoda::cpu {
namespace {

constexpr int32_t kNoLimit = std::numeric_limits<int32_t>::max();

// The default pool is sized when it is first used; more workers than most test machines have CPUs.
constexpr int32_t kNumWorkers = 4;
const bool kSized = setenv("PAGODA_NUM_THREADS", "4", 1) == 0;

// Runs `num_tasks` tasks and counts how often each index came. Workers must be in range, and no
// two tasks may run at once under one number.
std::vector<int> count_runs(int64_t num_tasks) {
  std::vector<std::atomic<int>> runs(static_cast<size_t>(num_tasks));
  std::atomic<bool> is_running[kNumWorkers] = {};
  std::atomic<int> faults{0};
  parallel_for(Execution{}, num_tasks, [&](int64_t i, int32_t worker) {
    if (worker < 0 || worker >= kNumWorkers || is_running[worker].exchange(true)) {
      ++faults;
      return;
    }
    ++runs[static_cast<size_t>(i)];
    is_running[worker] = false;
  });
  EXPECT_EQ(faults, 0);
  return {runs.begin(), runs.end()};
}

void expect_each_index_once(int64_t num_tasks) {
  EXPECT_EQ(count_runs(num_tasks), std::vector<int>(static_cast<size_t>(num_tasks), 1));
}

// Waits for what another thread does, but not for ever.
template <class Condition>
void wait_for(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition() && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
}

// Whether a job's second task is taken by another thread while the caller is in the first.
bool finds_a_helper() {
  std::atomic<bool> helped{false};
  parallel_for(Execution{}, 2, [&](int64_t, int32_t worker) {
    if (worker != 0) helped = true;
    wait_for([&] { return helped.load(); });
  });
  return helped;
}

TEST(ThreadPool, HasTheWorkersThatWereAskedFor) {
  ASSERT_TRUE(kSized);
  EXPECT_EQ(default_parallel_for().num_workers, kNumWorkers);
}

TEST(ThreadPool, RunsEachIndexOnce) {
  for (int64_t num_tasks : {0, 1, 2, 3, 7, 64, 1000, 20000}) expect_each_index_once(num_tasks);
}

TEST(ThreadPool, RunsEachIndexOnceOverManyJobs) {
  for (int job = 0; job < 3000; ++job) expect_each_index_once(1 + job % 9);
}

TEST(ThreadPool, WakesSleepingWorkers) {
  for (int job = 0; job < 20; ++job) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    expect_each_index_once(5);
  }
  EXPECT_TRUE(finds_a_helper());
}

TEST(ThreadPool, SeesWhatWasWrittenBeforeAndShowsWhatTasksWrote) {
  std::vector<int64_t> in(512);
  std::vector<int64_t> out(512);
  for (int64_t job = 0; job < 200; ++job) {
    for (int64_t& x : in) x = job;
    parallel_for(Execution{}, 512, [&](int64_t i, int32_t) { out[i] = in[i] + i; });
    for (int64_t i = 0; i < 512; ++i) ASSERT_EQ(out[i], job + i);
  }
}

// The caller finds no more tasks while a helper works on for long, sleeps, and is woken at the end.
TEST(ThreadPool, WaitsForLongTasks) {
  for (int job = 0; job < 5; ++job) {
    std::atomic<bool> helper_began{false};
    std::atomic<int> done{0};
    parallel_for(Execution{}, 2, [&](int64_t, int32_t worker) {
      if (worker == 0) {
        wait_for([&] { return helper_began.load(); });
      } else {
        helper_began = true;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
      ++done;
    });
    EXPECT_EQ(done, 2);
    EXPECT_TRUE(helper_began);
  }
}

TEST(ThreadPool, ATaskMayCallAgain) {
  std::atomic<int> inner_runs{0};
  std::atomic<int> elsewhere{0};
  parallel_for(Execution{}, 16, [&](int64_t, int32_t) {
    const std::thread::id self = std::this_thread::get_id();
    parallel_for(Execution{}, 10, [&](int64_t, int32_t worker) {
      ++inner_runs;
      if (worker != 0 || std::this_thread::get_id() != self) ++elsewhere;
    });
  });
  EXPECT_EQ(inner_runs, 160);
  EXPECT_EQ(elsewhere, 0);
}

TEST(ThreadPool, SecondCallerWorksAlone) {
  std::atomic<bool> first_runs{false};
  std::atomic<bool> second_done{false};
  std::thread first([&] {
    parallel_for(Execution{}, 2, [&](int64_t, int32_t) {
      first_runs = true;
      while (!second_done) std::this_thread::yield();
    });
  });
  while (!first_runs) std::this_thread::yield();
  const std::thread::id self = std::this_thread::get_id();
  int runs = 0;  // not atomic: all on this thread
  parallel_for(Execution{}, 100, [&](int64_t, int32_t worker) {
    EXPECT_EQ(std::this_thread::get_id(), self);
    EXPECT_EQ(worker, 0);
    ++runs;
  });
  second_done = true;
  first.join();
  EXPECT_EQ(runs, 100);
}

TEST(ThreadPool, ManyCallersAtOnce) {
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([] {
      for (int job = 0; job < 300; ++job) expect_each_index_once(17);
    });
  }
  for (std::thread& caller : callers) caller.join();
}

TEST(ThreadPool, UsesTheCallersPool) {
  struct Reversed {
    static void run(void* pool, int64_t num_tasks, ParallelTask task, void* context) {
      for (int64_t i = num_tasks - 1; i >= 0; --i) task(context, i, 6);
      *static_cast<int*>(pool) += 1;
    }
  };
  int calls = 0;
  const ParallelFor pool{Reversed::run, &calls, 7};
  std::vector<int64_t> order;
  parallel_for(Execution{.parallel_for = &pool}, 3, [&](int64_t i, int32_t worker) {
    EXPECT_EQ(worker, 6);
    order.push_back(i);
  });
  EXPECT_EQ(order, (std::vector<int64_t>{2, 1, 0}));
  EXPECT_EQ(calls, 1);
}

#if !defined(__SANITIZE_THREAD__)  // which allows a forked child no threads
TEST(ThreadPool, WorksInAForkedChild) {
  expect_each_index_once(100);
  // Another thread is in the pool at the moment of the fork. It must not allocate: sanitizers'
  // allocators are not made for that.
  std::atomic<bool> stop{false};
  std::atomic<int64_t> runs{0};
  std::thread busy([&] {
    while (!stop) parallel_for(Execution{}, 64, [&](int64_t, int32_t) { ++runs; });
  });
  wait_for([&] { return runs > 0; });
  for (int round = 0; round < 10; ++round) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      alarm(60);  // a hanging child dies, and the test with it
      bool all_once = finds_a_helper();
      for (int job = 0; job < 50; ++job) all_once &= count_runs(33) == std::vector<int>(33, 1);
      _exit(all_once ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
  }
  stop = true;
  busy.join();
  expect_each_index_once(100);
}
#endif

TEST(WorkerCount, TakesTheEnvironmentsNumber) {
  for (int32_t wanted : {1, 3, 1024}) {
    setenv("PAGODA_NUM_THREADS", std::to_string(wanted).c_str(), 1);
    EXPECT_EQ(default_num_workers(), wanted);
  }
  unsetenv("PAGODA_NUM_THREADS");
  const int32_t automatic = default_num_workers();
  EXPECT_GE(automatic, 1);
  EXPECT_EQ(worker_count_error(), "");
  setenv("PAGODA_NUM_THREADS", "", 1);
  EXPECT_EQ(default_num_workers(), automatic);
  EXPECT_EQ(worker_count_error(), "");
  for (const std::string odd : {"abc", "0", "-2", "4x", " 4", "1025", "99999999999"}) {
    setenv("PAGODA_NUM_THREADS", odd.c_str(), 1);
    EXPECT_EQ(default_num_workers(), automatic) << odd;
    EXPECT_EQ(worker_count_error(), "PAGODA_NUM_THREADS: got " + odd +
                                        ", wants a number from 1 to 1024; unset it for one thread "
                                        "per CPU");
  }
  setenv("PAGODA_NUM_THREADS", "4", 1);
  EXPECT_EQ(worker_count_error(), "");
}

// A tree of cgroup files as the kernel shows it.
class Cgroups : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "pagoda_cgroups_XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    root_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_ / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  int32_t limit(const std::string& membership) {
    return cgroup_cpu_limit(membership, root_.string());
  }

 private:
  std::filesystem::path root_;
};

TEST_F(Cgroups, NoneLimitsNothing) {
  EXPECT_EQ(limit(""), kNoLimit);
  EXPECT_EQ(limit("0::/\n"), kNoLimit);
  EXPECT_EQ(limit("nonsense\n::\n"), kNoLimit);
}

TEST_F(Cgroups, Version2RoundsUp) {
  write("cpu.max", "150000 100000\n");
  EXPECT_EQ(limit("0::/\n"), 2);
  write("cpu.max", "200000 100000\n");
  EXPECT_EQ(limit("0::/\n"), 2);
  write("cpu.max", "1000 100000\n");
  EXPECT_EQ(limit("0::/\n"), 1);
  write("cpu.max", "max 100000\n");
  EXPECT_EQ(limit("0::/\n"), kNoLimit);
}

TEST_F(Cgroups, Version2TakesTheTightestAncestor) {
  write("a/cpu.max", "300000 100000\n");
  write("a/b/cpu.max", "max 100000\n");
  write("a/b/c/cpu.max", "800000 100000\n");
  EXPECT_EQ(limit("0::/a/b/c\n"), 3);
  EXPECT_EQ(limit("0::/elsewhere\n"), kNoLimit);
}

TEST_F(Cgroups, Version1) {
  write("cpu,cpuacct/box/cpu.cfs_quota_us", "250000\n");
  write("cpu,cpuacct/box/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(limit("5:memory:/box\n4:cpu,cpuacct:/box\n"), 3);
  EXPECT_EQ(limit("3:cpuset:/box\n"), kNoLimit);
  write("cpu,cpuacct/box/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(limit("4:cpu,cpuacct:/box\n"), kNoLimit);
  // Inside a container the path is the host's, the mount's root the container's.
  write("cpu/cpu.cfs_quota_us", "400000\n");
  write("cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(limit("4:cpu,cpuacct:/host/path\n"), 4);
}

}  // namespace
}  // namespace pagoda::cpu
