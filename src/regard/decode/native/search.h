// The search of one sentence: which hypotheses there are, what they may not say next, and when it is over.
//
// It follows regard/decode/lane.py step by step; in float32 both give the same hypotheses. A hypothesis is a path
// through links, from its last piece back to the first; so a beam that branches copies nothing.

#pragma once

#include <cstdint>
#include <vector>

#include "kernels.h"

namespace regard {

// Fields as in regard.decode.Options.
struct Options {
    int beam = 1;
    int num_hypotheses = 1;
    double length_penalty = 1.0;
    double coverage_penalty = 0.0;
    bool sample = false;
    double temperature = 1.0;
    int top_k = 0;
    double top_p = 1.0;
    uint64_t seed = 0;
    int min_length = 0;
    int max_length = 0;  // already resolved: never 0
    int no_repeat_ngram = 0;
    std::vector<std::vector<int>> banned;
    bool alignment = false;
};

struct Request {
    std::vector<int> source;
    Options options;
    std::vector<int> prefix;

    // Decoder rows that it may take.
    int width() const { return options.sample ? options.num_hypotheses : options.beam; }
    bool wants_attention() const { return options.alignment || options.coverage_penalty > 0; }
};

struct Hypothesis {
    std::vector<int> ids;  // without the end of the sentence
    double score = 0;
    std::vector<float> log_probs;  // with it, where it was reached
    bool finished = false;
    std::vector<float> attention;  // ids × attended, if wanted
    int attended = 0;              // length of the source
};

// What the vocabulary says about one row: the scans of each thread's part, and all logits for sampling.
struct RowScores {
    const Scan* scans;
    int parts;
    const float* logits;
};

class Search {
  public:
    struct Row {
        int piece;     // last piece: the decoder's next input
        double score;  // log-probability so far
        int number;    // which of the hypotheses it is, when sampling
    };

    Search(const Request& request, int bos, int eos);

    // Hypotheses that go on; row r has slot r of the cache at this step.
    const std::vector<Row>& rows() const { return rows_; }
    // Pieces produced so far.
    int length() const { return int(trail_.size()); }
    bool done() const { return done_; }

    // The row whose keys row `row` had at every earlier step, by step; and itself last.
    void ancestors(int row, std::vector<int>& slots) const;
    // The only piece that may follow now, or -1.
    int forced_piece() const;
    // Fill in what must not follow `row`.
    void forbidden_pieces(int row, std::vector<int>& pieces) const;
    // Candidates of a row that advance() wants.
    int candidates() const { return greedy() ? 1 : 2 * request_.width(); }
    bool samples() const { return request_.options.sample; }

    // Take the step: scores of each row; where attention is wanted, rows × heads × length of the source.
    void advance(const std::vector<RowScores>& scores, const std::vector<int>& never, int vocabulary,
                 const float* attention, int heads);

    // What was found, best first; the best so far while it runs.
    std::vector<Hypothesis> results() const;
    Hypothesis best_so_far() const;

  private:
    struct Link {
        int piece;
        int parent;  // row at the step before
        float log_prob;
    };
    struct Candidate {
        int row;
        int piece;
        float log_prob;
        double score;
        int number = 0;
    };

    bool greedy() const { return !request_.options.sample && request_.options.beam == 1; }
    std::vector<int> output(int row) const;
    std::vector<Candidate> best(int row, const RowScores& scores) const;
    Candidate draw(int row, int number, const RowScores& scores, const std::vector<int>& never, int vocabulary) const;
    void advance_rows(const std::vector<Candidate>& chosen);
    void advance_beam(std::vector<Candidate> candidates);
    void close_beam();
    void push(const std::vector<Candidate>& chosen);
    // Close the hypothesis that ends with `last` after row last.row.
    void finish(const Candidate& last, bool finished);
    Hypothesis path(const Candidate& last) const;
    double coverage(const Hypothesis& hypothesis) const;

    const Request& request_;
    const int eos_;
    const int limit_;
    std::vector<Row> rows_;
    std::vector<std::vector<Link>> trail_;        // by step, then row
    std::vector<std::vector<float>> attention_;   // by step: rows × length of the source
    std::vector<Hypothesis> finished_;
    bool done_ = false;
};

}  // namespace regard
