// A few threads that work on one thing together.
//
// A step of decoding a short sentence takes tens of microseconds and has a dozen places where every thread must have
// finished. Waking a sleeping thread costs as much as the step, so inside one call of run() they wait by spinning,
// and sleep only when that takes long. Between calls they sleep.
//
// On a busy machine the system puts a thread aside for milliseconds, and every barrier waits for it. Where that takes
// most of the time of a piece of work, the first thread goes on alone for a while (rest()), which is many times faster.

#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace regard {

struct Range {
    int first;
    int last;
};

class Team {
  public:
    explicit Team(int size);
    ~Team();
    Team(const Team&) = delete;
    Team& operator=(const Team&) = delete;

    int size() const { return size_; }
    // Threads at work now: all, or one.
    int width() const { return alone_ ? 1 : size_; }

    // Call task(0) here and task(1), … on the other threads; return when all have returned.
    // The task must not throw. One call at a time.
    void run(const std::function<void(int)>& task);

    // Inside a task: wait until every thread has come here.
    void gather(int id);
    // The same where several are at work; nothing where one is.
    void barrier(int id) {
        if (width() > 1) gather(id);
    }

    // The part of `count` things that falls to thread `id`.
    Range share(int count, int id) const {
        const long long all = count, parts = width();
        return {int(all * id / parts), int(all * (id + 1) / parts)};
    }

    // For thread 0, before each piece of work: whether it is for it alone, because the others kept it waiting.
    bool rest();

  private:
    using Clock = std::chrono::steady_clock;

    void start();
    void stop();
    void serve(int id, unsigned seen);  // calls up to number `seen` are done

    const int size_;
    long owner_ = 0;  // process that started the threads: a fork has none of them
    std::vector<std::thread> threads_;
    // What threads meet by. A fork copies it in whatever state it is, a mutex locked by a thread that the child does not
    // have among them: the child leaves it and makes its own.
    struct Meeting {
        std::mutex mutex;
        std::condition_variable wake;
        alignas(64) std::atomic<int> arrived{0};
        alignas(64) std::atomic<unsigned> round{0};
        std::atomic<int> sleepers{0};
        std::mutex sleep;
        std::condition_variable awake;
    };
    std::unique_ptr<Meeting> meeting_ = std::make_unique<Meeting>();
    const std::function<void(int)>* task_ = nullptr;
    unsigned calls_ = 0;
    bool stop_ = false;
    // Thread 0's: when the piece of work at hand began, how long it slept in it, and until when it works alone.
    Clock::time_point began_, until_;
    Clock::duration slept_{0};
    bool alone_ = false;
};

}  // namespace regard
