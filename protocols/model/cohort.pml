/* The setting up of one study: who signs which cohort. README.md says what this leaves out and why it may.
 *
 * Region 0 is malicious and so is the aggregator: there is no shared record, each honest region is shown whatever they
 * like, as long as every message of an honest region in it is one that this region sent. Regions 0..U-1 contribute, all
 * R are keyholders. Sets of regions are bit masks.
 */
#ifndef R
#define R 3
#endif
#define T 2
#define MIN (T + 1)
#define ALL ((1 << R) - 1)
#define IN(i, set) (((set) >> (i)) & 1)
#define SIZE(set) (((set) & 1) + (((set) >> 1) & 1) + (((set) >> 2) & 1) + (((set) >> 3) & 1))
#define COHORT(h) ((((A[h] * 16 + K[h]) * 3 + D[h]) * 16 + P[h]) * 3 + B[h])

mtype { APPROVAL, DEALING, ACKNOWLEDGEMENT, COHORT_PHASE, CONTRIBUTION, REFUSED }

byte U;                    /* the study's contributors: the same for all, for the study's hash covers them */

/* The record as it was shown to region h; a restart shows it another one, from the beginning. */
mtype phase[R];
byte A[R];                 /* which approval of region 0 */
byte K[R];                 /* keyholders that were dealt to */
byte D[R];                 /* which deal of region 0 */
byte P[R];                 /* keyholders whose acknowledgements are proposed */
byte B[R];                 /* which acknowledgement of region 0; 0 if it is not in P */

/* On the disk of region h: one message a key. 0: none. */
bool approval[R];
byte deal[R];              /* for these keyholders */
byte acknowledgement[R];   /* of this deal of region 0; those of the others are theirs */
short signature[R];        /* over this cohort */

/* What region h has sent, ever: what the aggregator can show. */
bool approved[R];
short dealt[R];            /* a set of K */
byte acknowledged[R];      /* a set of D */
short endorsed[R], endorsed2[R];  /* cohorts */

short joined[R];           /* the cohort in which region h first went on to the rounds; no restart clears it */
bool two_signatures;       /* a region sent signatures over two cohorts */
bool two_cohorts;          /* two honest regions, or one before and after a restart, went on in two cohorts */

byte unstored[R];          /* with SEND_FIRST: the message that is sent and not on the disk yet */

inline forget(h) { d_step { A[h] = 0; K[h] = 0; D[h] = 0; P[h] = 0; B[h] = 0; phase[h] = APPROVAL } }

/* member.py, _perform and _send; participation.py, _keep: a message is stored, then it leaves. */
#ifdef SEND_FIRST
#define STORE(place, what, kind) place = what; unstored[h] = kind
#else
#define STORE(place, what, kind) place = what
#endif

inline sign(h) {
    if
    :: endorsed[h] == 0 -> endorsed[h] = signature[h]
    :: else ->
       if :: endorsed[h] != signature[h] -> endorsed2[h] = signature[h] :: else fi /* unreached: it makes one */
    fi;
#ifndef COHORTS_ONLY
    two_signatures = endorsed2[h] != 0;
    assert(!two_signatures)
#else
    skip
#endif
}

/* A board takes a signature over the cohort that it computed itself, and no other (board.py, _on_cohort). */
#ifdef ANY_COHORT
#define FITS(i, c) (endorsed[i] != 0)
#else
#define FITS(i, c) (endorsed[i] == (c) || endorsed2[i] == (c))
#endif
#ifdef NOT_ALL_SIGN
#define SIGNED_BY_ALL(c) true
#else
#define SIGNED_BY_ALL(c) ((FITS(1, c)) && (U <= 2 || FITS(2, c)) && (U <= 3 || FITS(3 % R, c)))
#endif

#define OTHER_IN(i, c) (joined[i] == 0 || joined[i] == (c))

proctype region(byte h) {
    byte k, v, i;
end:
    do
    /* What it says of its own accord (member.py, DUTIES): stored if nothing is, and sent from there. */
    :: atomic { phase[h] == APPROVAL && !approval[h] -> STORE(approval[h], true, 1) }
    :: atomic { approval[h] && !approved[h] -> approved[h] = true }
    :: atomic { phase[h] == DEALING && h < U && deal[h] == 0 -> STORE(deal[h], K[h], 2) }
    :: atomic { deal[h] != 0 && !IN(deal[h], dealt[h]) -> dealt[h] = dealt[h] | (1 << deal[h]) }
    :: atomic { phase[h] == ACKNOWLEDGEMENT && IN(h, K[h]) && acknowledgement[h] == 0 ->
                STORE(acknowledgement[h], D[h], 3) }
    :: atomic { acknowledgement[h] != 0 && !IN(acknowledgement[h], acknowledged[h]) ->
                acknowledged[h] = acknowledged[h] | (1 << acknowledgement[h]) }
    :: atomic { phase[h] == COHORT_PHASE && h < U && signature[h] == 0 ->
                STORE(signature[h], COHORT(h), 4);
#ifdef SEND_FIRST
                sign(h)
#endif
              }
#ifdef SEND_FIRST
    :: unstored[h] != 0 -> unstored[h] = 0
#endif
    :: atomic { signature[h] != 0 && endorsed[h] != signature[h] && endorsed2[h] != signature[h] -> sign(h) }

    /* It is shown all approvals, and a dealing to at least T keyholders that approved (board.py, _on_dealing). */
    :: atomic { phase[h] == APPROVAL && approved[1] && (U <= 2 || approved[2]) && (U <= 3 || approved[3 % R]) ->
#ifdef FEW
                if :: k = ALL :: k = ALL - (1 << (R - 1)) fi;
#else
                select(k : 3 .. ALL);
#endif
                select(v : 1 .. 2);
                if
                :: SIZE(k) >= T && (!IN(R - 1, k) || approved[R - 1]) ->
                   A[h] = v; K[h] = k; phase[h] = DEALING;
                   /* a deal that it recalls for other keyholders does not fit into this record */
                   if :: deal[h] != 0 && deal[h] != k -> forget(h); phase[h] = REFUSED :: else fi
                :: else
                fi; k = 0; v = 0 }

    /* It is shown all deals, each for these keyholders (board.py, _on_deal). */
    :: atomic { phase[h] == DEALING && IN(K[h], dealt[1]) && IN(K[h], dealt[2]) && (U <= 3 || IN(K[h], dealt[3 % R])) ->
#ifdef FEW
                v = 1;
#else
                select(v : 1 .. 2);
#endif
                D[h] = v; phase[h] = ACKNOWLEDGEMENT; v = 0 }

    /* It is shown acknowledgements of these deals, and a proposal of at least T of them (board.py, _on_proposal). */
    :: atomic { phase[h] == ACKNOWLEDGEMENT ->
#ifdef FEW
                if :: k = K[h] :: k = K[h] & ~(1 << (R - 2)) fi;
                v = 1;
#else
                select(k : 3 .. ALL);
                select(v : 1 .. 2);
#endif
                if
                :: (k & K[h]) == k && SIZE(k) >= T && (!IN(1, k) || IN(D[h], acknowledged[1])) &&
                   (!IN(2, k) || IN(D[h], acknowledged[2])) && (R == 3 || !IN(3, k) || IN(D[h], acknowledged[3 % R])) ->
                   P[h] = k; B[h] = (IN(0, k) -> v : 0); phase[h] = COHORT_PHASE;
                   /* a signature that it recalls over another cohort is refused by its own board */
                   if :: signature[h] != 0 && signature[h] != COHORT(h) -> forget(h); phase[h] = REFUSED :: else fi
                :: else
                fi; k = 0; v = 0 }

    /* It is shown a signature of every contributor, and goes on to the rounds; a keyholder answers from here on. */
    :: atomic { phase[h] == COHORT_PHASE && SIGNED_BY_ALL(COHORT(h)) ->
                phase[h] = CONTRIBUTION;
                if :: joined[h] == 0 -> joined[h] = COHORT(h) :: else fi;
                two_cohorts = !(OTHER_IN(1, COHORT(h)) && OTHER_IN(2, COHORT(h)) && OTHER_IN(R - 1, COHORT(h)));
                assert(!two_cohorts) }

    /* It crashes and is started again, at any time and as often as one likes. */
    :: atomic { phase[h] != APPROVAL && phase[h] != REFUSED || unstored[h] != 0 ->
                forget(h);
#ifdef SEND_FIRST
                if
                :: unstored[h] == 2 -> deal[h] = 0
                :: unstored[h] == 3 -> acknowledgement[h] = 0
                :: unstored[h] == 4 -> signature[h] = 0
                :: else
                fi;
                unstored[h] = 0
#endif
#ifdef NO_RECALL
                approval[h] = false; deal[h] = 0; acknowledgement[h] = 0; signature[h] = 0
#endif
              }
    od
} /* unreached: a region never ends */

init {
    byte i;
    atomic {
        select(U : MIN .. R);
        for (i : 1 .. R - 1) { phase[i] = APPROVAL }
        for (i : 1 .. R - 1) { run region(i) }
    }
}
