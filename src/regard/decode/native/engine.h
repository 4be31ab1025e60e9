// Requests in, hypotheses out: sentences join and leave one running batch, a step at a time.
//
// Any thread may call any of the functions. One of the callers at a time does the work for all (the *runner*): it
// decodes steps until what it waits for is there, then hands over. So requests of several threads share the batch.

#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "network.h"
#include "search.h"

namespace regard {

struct Result {
    int64_t number;
    std::vector<Hypothesis> hypotheses;
    bool finished;
};

class Engine {
  public:
    // max_tokens: source pieces × rows in the batch; a longer request runs alone. `never`: pieces never produced.
    // `poll` is called now and then by the thread that called; what it throws ends the call.
    Engine(std::shared_ptr<const Model> model, int threads, int max_tokens, std::vector<int> never,
           std::function<void()> poll);

    // Queue a request. Throws std::invalid_argument where it cannot be translated.
    int64_t add(Request request);
    bool cancel(int64_t number);
    bool busy();
    // Decode one piece of everything; what is finished, and with `partial` the best so far of the rest.
    std::vector<Result> step(bool partial);
    // Decode all of these; results in the same order.
    std::vector<std::vector<Hypothesis>> translate(std::vector<Request> requests);

  private:
    struct Sentence {
        int64_t number;
        bool awaited;    // by translate(), so not a result of step()
        bool cancelled = false;
        Request request;
        std::optional<Search> search;
        Memory memory;
        Cache cache;
        Buffer<float> attention;
        std::vector<int> slots;
    };
    using Sentences = std::list<std::unique_ptr<Sentence>>;

    // What a row of the step may say.
    struct Rule {
        int forced = -1;
        std::vector<int> forbidden;
    };

    int64_t enqueue(Request request, bool awaited);  // with the lock
    void check(const Request& request) const;
    void run(std::unique_lock<std::mutex>& lock, const std::function<bool()>& enough);
    bool plan(const std::function<bool()>& enough);
    void collect();
    void admit();
    void lay_out();
    void work(int id);
    void place_rows(int id);
    void scan_vocabulary(int id, const Inputs& hidden);
    void scan_rows(int id, int first, int count, int stride);
    void advance(int id);

    std::unique_ptr<Network> network_;
    Team team_;
    const int max_tokens_;
    const std::vector<int> never_;  // sorted
    const std::function<void()> poll_;

    std::mutex mutex_;
    std::condition_variable changed_;
    bool running_ = false;
    int64_t next_ = 0;
    Sentences waiting_, active_;
    std::map<int64_t, std::vector<Hypothesis>> done_, awaited_done_;

    // The step at hand, written by the runner in plan() and read by all threads.
    std::vector<EncoderItem> joining_;
    int joining_rows_ = 0;
    DecoderBatch batch_;
    std::vector<Sentence*> sentences_;  // of the batch's items
    std::vector<Rule> rules_;
    int candidates_ = 1;
    bool keep_logits_ = false;
    std::vector<Scan> scans_;           // rows × threads
    Buffer<float> best_logits_;         // rows × threads × candidates
    Buffer<int32_t> best_pieces_;
    Buffer<float> logits_;              // rows × vocabulary, for sampling
    bool go_ = false;
    int steps_ = 0;
    std::exception_ptr error_;
    std::chrono::steady_clock::time_point polled_;
};

}  // namespace regard
