// Requests in, hypotheses out: sentences join and leave one running batch, a step at a time.
//
// Any thread may call any of the functions. One of the callers at a time does the work for all (the *runner*): it
// decodes steps until what it waits for is there, then hands over. So requests of several threads share the batch.
//
// Where memory runs out, the sentences that needed it fail: alone if it was their own, else all that run. What waits
// goes on, and so does the engine.

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
#include "shortlist.h"

namespace regard {

struct Result {
    int64_t number;
    std::vector<Hypothesis> hypotheses;
    bool finished;
};

// Logits are scanned in parts of about this size, which stay in the second-level cache.
constexpr int CHUNK_FLOATS = 1 << 16;

class Engine {
  public:
    // max_tokens: source pieces × rows in the batch; a longer request runs alone. `never`: pieces never produced.
    // `shortlist` says what a request may be translated to that does not say so itself; or nullptr.
    // `poll` is called now and then by the thread that called; what it throws ends the call.
    Engine(std::shared_ptr<const Model> model, std::shared_ptr<const Shortlist> shortlist, int threads, int max_tokens,
           std::vector<int> never, std::function<void()> poll);

    // Queue a request. Throws std::invalid_argument where it cannot be translated.
    int64_t add(Request request);
    bool cancel(int64_t number);
    bool busy();
    // Decode one piece of everything; what is finished, and with `partial` the best so far of the rest.
    // Throws what ended a request that failed; the results of the others come with the next step.
    std::vector<Result> step(bool partial);
    // Decode all of these; results in the same order. Throws where one of them failed.
    std::vector<std::vector<Hypothesis>> translate(std::vector<Request> requests);

  private:
    struct Sentence {
        int64_t number;
        bool awaited;    // by translate(), so not a result of step()
        bool cancelled = false;
        std::exception_ptr error;
        Request request;
        std::optional<Search> search;
        Selection selection;  // of the output projection, where the vocabulary is not whole
        Memory memory;
        Cache cache;
        Buffer<float> attention;
        std::vector<int> slots;
    };
    using Sentences = std::list<std::unique_ptr<Sentence>>;

    // What became of a sentence.
    struct Outcome {
        std::vector<Hypothesis> hypotheses;
        std::exception_ptr error;
    };

    // What a row of the step may say.
    struct Rule {
        int forced = -1;
        std::vector<int> forbidden;
        bool keep_logits = false;
    };

    void check(const Request& request) const;
    std::unique_ptr<Sentence> prepare(Request request, bool awaited) const;
    int64_t enqueue(std::unique_ptr<Sentence> sentence);  // with the lock
    void run(std::unique_lock<std::mutex>& lock, const std::function<bool()>& enough);
    bool plan(const std::function<bool()>& enough);
    void collect();
    void close(Sentence& sentence);
    void admit();
    bool lay_out();
    void give_rows();
    void work(int id);
    void place_rows(int id);
    void place_rows(const DecoderItem& item, Sentence& sentence);
    Vocabulary vocabulary_of(const Sentence& sentence) const;
    void scan_vocabulary(int id, const Inputs& hidden);
    void scan(int id, const PackedWeights& weights, const Vocabulary& vocabulary, const Inputs& hidden, Range rows);
    void scan_rows(int id, const Vocabulary& vocabulary, Range places, int stride, Range rows);
    void advance(int id);

    std::unique_ptr<Network> network_;
    const std::shared_ptr<const Shortlist> shortlist_;
    Team team_;
    const int max_tokens_;
    const std::vector<int> never_;  // sorted
    const std::function<void()> poll_;

    std::mutex mutex_;
    std::condition_variable changed_;
    bool running_ = false;
    int64_t next_ = 0;
    Sentences waiting_, active_;
    std::map<int64_t, Outcome> done_, awaited_done_;

    // The step at hand, written by the runner in plan() and read by all threads.
    std::vector<EncoderItem> joining_;
    std::vector<Sentence*> joined_;     // of these
    int joining_rows_ = 0;
    DecoderBatch batch_;
    std::vector<Sentence*> sentences_;  // of the batch's items; those with the whole vocabulary come first
    int whole_items_ = 0;               // how many those are
    std::vector<Rule> rules_;
    int candidates_ = 1;
    bool keep_logits_ = false;
    std::vector<Scan> scans_;           // rows × threads
    Buffer<float> best_logits_;         // rows × threads × candidates
    Buffer<int32_t> best_pieces_;
    Buffer<float> logits_;              // rows × vocabulary, where a rule keeps them
    bool go_ = false;
    int steps_ = 0;
    std::exception_ptr error_;
    std::chrono::steady_clock::time_point polled_;
};

}  // namespace regard
