/* The rounds of one cohort: labels, what is encrypted under them, and what is opened. README.md says what this leaves
 * out and why it may.
 *
 * Region 0 is malicious and so is the aggregator: each honest region is shown whatever they like, as long as every
 * message of an honest region in it is one that this region sent. Regions 0..U-1 contribute, all R are keyholders and
 * follow the rounds; those that contribute read.
 */
#ifndef R
#define R 3
#endif
#ifndef ROUNDS
#define ROUNDS 3
#endif
#define T 2
#define MIN (T + 1)
#define AT(h, r) ((h) * ROUNDS + (r))
#define RIGHT 0
#define WRONG 1

/* V of a round follows from its label and from what was opened, which region 0 chooses by its contribution: 1 or 2.
 * The label of the next round is that. Round 0 has label 1, so a label is never one of an earlier round.
 */
#define OPENED(own, choice) ((own) * 3 + (choice))
#ifdef NO_V_IN_LABEL
#define LABEL(h) (round[h] + 1)
#else
#ifdef ONE_LABEL
#define LABEL(h) 1
#else
#define LABEL(h) history[h]
#endif
#endif

byte U;                      /* the study's contributors: the same for all, for the study's hash covers them */

/* The record as it was shown to region h, and what h opened; a restart shows it another one, from round 0. */
byte round[R];
byte history[R];             /* what h opened so far */
bool opening[R];             /* all contributions and the first `open` were shown */
byte shown_label[R];         /* of the contributions in the record */
byte choice[R];              /* which contribution of region 0 is in it */
bool total[R];               /* what the `open` fixed: the sum of the contributions, or another */

/* On the disk of region h: one contribution a round. */
byte contribution[R * ROUNDS];    /* under this label */

/* What region h has sent, ever. */
byte contributed[R * ROUNDS];     /* under this label */
int answered[R];                  /* the labels whose masks it gave its shares of: a set */

byte opened_before[R * ROUNDS];   /* what h had opened when it made this contribution */
bool unstored[R];                 /* with SEND_FIRST: the last contribution is sent and not on the disk yet */

bool encrypted_twice;  /* a region sent two encryptions under one label */
bool too_few;          /* an honest keyholder answers for a sum in which not all, or fewer than MIN, contributed */
bool different_pasts;  /* it answers for a sum of contributors that had opened different sums before */
bool different_sums;   /* two honest readers opened different sums in one round; SAME_ROUND asks for that */
bool wrong_sum;        /* an honest reader went on with another sum than that of the contributions in its record */

#define SENT(i, r, label) (contributed[AT(i, r)] == (label))
#define PAST(i, r) (opened_before[AT(i, r)])

/* board.py, _on_contribution and _on_open: all contributors are there, all with the same label. */
#ifdef NOT_ALL_CONTRIBUTE
#define IS_THERE(i, r, label) true
#else
#ifdef ANY_LABEL
#define IS_THERE(i, r, label) (contributed[AT(i, r)] != 0)
#else
#define IS_THERE(i, r, label) SENT(i, r, label)
#endif
#endif
#define ALL_THERE(r, label) \
    (IS_THERE(1, r, label) && (U <= 2 || IS_THERE(2, r, label)) && (U <= 3 || IS_THERE(R - 1, r, label)))

/* A reader compares the label with its own, and the check values with the sum, which was fixed before their factors. */
#ifdef NO_CHECK
#define OPENS(h) (LABEL(h) == shown_label[h])
#else
#define OPENS(h) (LABEL(h) == shown_label[h] && total[h] == RIGHT)
#endif

/* A region refuses a study with fewer contributors than the floor (study.py; board.py, _require_floors). */
#ifdef NO_FLOOR
#define ACCEPTABLE true
#else
#define ACCEPTABLE (U >= MIN)
#endif

#define GAVE(i, label) ((answered[i] >> (label)) & 1)
#define GIVEN(label) (1 + GAVE(1, label) + GAVE(2, label) + (R == 4 -> GAVE(R - 1, label) : 0))

#if defined(SEND_FIRST) || defined(NO_RECALL)
#define MADE_IS_SENT
#endif

inline begin(h) {
    round[h] = 0; history[h] = 1; opening[h] = false; shown_label[h] = 0; choice[h] = 0; total[h] = RIGHT
}

/* A new encryption leaves region h. */
inline encrypt(h) {
    for (i : 0 .. ROUNDS - 1) {
        encrypted_twice = encrypted_twice || contributed[AT(h, i)] == contribution[AT(h, round[h])]
    }
    i = 0;
    assert(!encrypted_twice);
    contributed[AT(h, round[h])] = contribution[AT(h, round[h])]
}

proctype region(byte h) {
    byte i;
end:
    do
    /* A contributor encrypts under its own label, once a round (contributor.py, contribution; member.py, _perform), */
    :: d_step { h < U && round[h] < ROUNDS && !opening[h] && contribution[AT(h, round[h])] == 0 ->
                contribution[AT(h, round[h])] = LABEL(h);
                opened_before[AT(h, round[h])] = history[h];
#ifdef MADE_IS_SENT
                unstored[h] = true;
                encrypt(h)
#endif
              }
    /* stores it and then sends it. With MADE_IS_SENT it has left already. */
#ifdef MADE_IS_SENT
    :: unstored[h] -> unstored[h] = false
#else
    :: d_step { h < U && round[h] < ROUNDS && contribution[AT(h, round[h])] != 0 && contributed[AT(h, round[h])] == 0 ->
                encrypt(h) }
#endif

    /* It is shown the contributions of a round, and how the first `open` fixes their sum. */
    :: atomic { round[h] < ROUNDS && !opening[h] && contributed[AT(1, round[h])] != 0 &&
                ALL_THERE(round[h], contributed[AT(1, round[h])]) ->
                shown_label[h] = contributed[AT(1, round[h])];
                if :: choice[h] = 1 :: choice[h] = 2 fi;
                if :: total[h] = RIGHT :: total[h] = WRONG fi;
                opening[h] = true }

    /* It is asked, in whatever attempt, and answers for the label in the record (keyholder.py, answer). */
    :: d_step { opening[h] && !GAVE(h, shown_label[h]) ->
                answered[h] = answered[h] | (1 << shown_label[h]);
                too_few = U < MIN || !SENT(1, round[h], shown_label[h]) ||
                          (U > 2 && !SENT(2, round[h], shown_label[h])) ||
                          (U > 3 && !SENT(R - 1, round[h], shown_label[h]));
                assert(!too_few);
                different_pasts = (U > 2 && PAST(1, round[h]) != PAST(2, round[h])) ||
                                  (U > 3 && PAST(1, round[h]) != PAST(R - 1, round[h]));
                assert(!different_pasts) }

    /* It is shown answers of T keyholders (region 0 gives any) and a `sum`. A reader opens it only if the label is its
     * own, and the check values, whose factors follow from `total`, fit (reader.py, _open; board.py, _on_sum).
     */
    :: d_step { opening[h] && GIVEN(shown_label[h]) >= T && (h >= U || OPENS(h)) ->
                wrong_sum = h < U && total[h] == WRONG;
                assert(!wrong_sum);
                history[h] = OPENED(history[h], choice[h]);
#ifdef SAME_ROUND
                different_sums = h < 3 && round[h] + 1 == round[3 - h] && history[h] != history[3 - h];
                assert(!different_sums);
#endif
                round[h]++; opening[h] = false; shown_label[h] = 0; choice[h] = 0; total[h] = RIGHT }

    /* It crashes and is started again, at any time and as often as one likes. */
    :: d_step { round[h] > 0 || opening[h] || unstored[h] ->
                begin(h);
#ifdef SEND_FIRST
                /* the last one was sent, and is not on the disk */
                for (i : 0 .. ROUNDS - 1) {
                    if
                    :: unstored[h] && (i == ROUNDS - 1 || contribution[AT(h, i + 1)] == 0) -> contribution[AT(h, i)] = 0
                    :: else
                    fi
                }
                i = 0;
                unstored[h] = false
#endif
#ifdef NO_RECALL
                for (i : 0 .. ROUNDS - 1) { contribution[AT(h, i)] = 0 }
                i = 0
#endif
              }
    od
} /* unreached: a region never ends */

init {
    byte i;
    atomic {
        select(U : 2 .. R);
        for (i : 1 .. R - 1) { begin(i) }
        if
        :: ACCEPTABLE -> for (i : 1 .. R - 1) { run region(i) }
        :: else -> skip /* the regions refuse it, and nothing begins */
        fi
    }
}
