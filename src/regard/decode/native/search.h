// The search of one sentence: which hypotheses there are, what they may not say next, and when it is over.
//
// It follows regard/decode/lane.py step by step; in float32 both give the same hypotheses. A hypothesis is a path
// through links, from its last piece back to the first; so a beam that branches copies nothing.

#pragma once

#include <algorithm>
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
    std::vector<std::vector<int>> required;
    bool alignment = false;

    // Pieces of all required sequences.
    int required_pieces() const;
};

struct Request {
    std::vector<int> source;
    Options options;
    std::vector<int> prefix;
    std::vector<int> vocabulary;  // the only pieces that there are, ascending; none of them: all

    // Decoder rows that it may take.
    int width() const {
        if (options.sample) return options.num_hypotheses;
        return options.required.empty() ? options.beam : std::max(options.beam, options.required_pieces() + 1);
    }
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

// The pieces that a row chooses from: all, or those of an ascending list. What scans and logits count are places in it.
struct Vocabulary {
    int size;
    const int* pieces = nullptr;

    int piece(int place) const { return pieces ? pieces[place] : place; }
    // -1 where it is not among them.
    int place(int piece) const {
        if (!pieces) return piece < size ? piece : -1;
        const int* found = std::lower_bound(pieces, pieces + size, piece);
        return found != pieces + size && *found == piece ? int(found - pieces) : -1;
    }
};

// What the vocabulary says about one row: the scans of each thread's part, and all logits where they were wanted.
struct RowScores {
    const Scan* scans;
    int parts;
    const float* logits;
};

// How much of the required sequences a hypothesis has, and which one it is in the middle of.
struct Progress {
    std::vector<bool> met;
    int current = -1;  // sequence
    int place = 0;     // its next piece
    int count = 0;     // pieces that count
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
    // Whether advance() looks at more of the logits than the best.
    bool wants_logits() const { return request_.options.sample || !request_.options.required.empty(); }

    // Take the step: scores of each row; where attention is wanted, rows × heads × length of the source.
    void advance(const std::vector<RowScores>& scores, const std::vector<int>& never, const Vocabulary& vocabulary,
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
        int count = 0;  // required pieces that it would have
    };

    bool greedy() const { return !request_.options.sample && request_.width() == 1; }
    std::vector<int> output(int row) const;
    Progress progress(const std::vector<int>& output) const;
    void count(Progress& progress, int piece) const;
    std::vector<Candidate> best(int row, const RowScores& scores, const Vocabulary& vocabulary) const;
    void require(int row, const RowScores& scores, const std::vector<int>& never, const Vocabulary& vocabulary,
                 std::vector<Candidate>& candidates) const;
    Candidate draw(int row, int number, const RowScores& scores, const std::vector<int>& never,
                   const Vocabulary& vocabulary) const;
    void advance_rows(const std::vector<Candidate>& chosen);
    void advance_beam(std::vector<Candidate> candidates);
    void advance_required(std::vector<Candidate> candidates);
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
