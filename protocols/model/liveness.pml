/* One study from the acknowledgements to the last round, with an honest aggregator: does a round end? README.md says
 * what this leaves out and why it may.
 *
 * Regions 0..C-1 contribute, those in KEYHOLDERS keep keys. Regions and aggregator crash and are started again, DOWN
 * times in all; a keyholder that does not contribute may go for ever (SPARE_GOES); LATE times an answer takes longer
 * than the aggregator's patience though its keyholder is there.
 */
#ifndef R
#define R 3
#endif
#ifndef C
#define C R
#endif
#ifndef KEYHOLDERS
#define KEYHOLDERS ((1 << R) - 1)
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef DOWN
#define DOWN 2
#endif
#ifndef LATE
#define LATE 1
#endif
#define T 2
#define CONTRIBUTORS ((1 << C) - 1)
#define TURNS (3 + 2 * ROUNDS + DOWN + LATE + 1)
#define ALL ((1 << R) - 1)
#define BIT(h) (1 << (h))
#define IN(h, set) (((set) >> (h)) & 1)
#define SIZE(set) (((set) & 1) + (((set) >> 1) & 1) + (((set) >> 2) & 1) + (((set) >> 3) & 1))

mtype = { ACKNOWLEDGEMENT, COHORT, CONTRIBUTION, OPENING, CHECK, ANSWER }

/* The record, on the aggregator's disk before it leaves. A turn is what begins a phase or asks anew. */
mtype turn_phase[TURNS];
byte turn_asked[TURNS];      /* the keyholders, where the turn is an `open` */
byte turn_round[TURNS];
byte turn = 0;               /* the last one */
byte acknowledged, cohort, signed_by, contributed, checked, answered;   /* sets of regions; answered: this attempt */

byte gone;                   /* the region that is gone for ever */
byte connected;              /* the regions that run and reach the aggregator */
bool aggregator_runs = true;
byte slow;                   /* only in the aggregator's memory */
byte downs, lates;

/* On the disks of the regions. */
byte acted[R];               /* the number of turns that it received and acted upon */
bool has_checked[R];         /* the turn is a first `open`: its check value is sent, its answer is not yet */

inline begin_turn(p, asked, r) {
    assert(turn + 1 < TURNS);
    turn_phase[turn + 1] = p; turn_asked[turn + 1] = asked; turn_round[turn + 1] = r;
    turn++; answered = 0
}

/* A region's message reaches the aggregator and stands in the record (coordinator.py, receive; board.py). */
inline take(h, kind, n) {
    if
    :: kind == ACKNOWLEDGEMENT && turn_phase[turn] == ACKNOWLEDGEMENT -> acknowledged = acknowledged | BIT(h)
    :: kind == COHORT ->
       signed_by = signed_by | BIT(h);
       if :: signed_by == CONTRIBUTORS -> begin_turn(CONTRIBUTION, 0, 0) :: else fi
    :: kind == CONTRIBUTION -> contributed = contributed | BIT(h)
    :: kind == CHECK && turn_phase[turn] == OPENING && n == turn_round[turn] -> checked = checked | BIT(h)
    :: kind == ANSWER -> slow = slow & ~BIT(h);
       if :: n == turn -> answered = answered | BIT(h) :: else fi
    :: else            /* late: taken without effect */
    fi
}

/* What a region has to say in a turn (member.py, DUTIES): it receives the turn, stores its message, sends it, and the
 * message is taken, in one step. A crash between these is one before this step: what is on the disk is done again.
 */
#define HERE acted[h]
/* a check value is sent once a round, so in the first attempt only */
#define CHECKS(h) (h < C && turn_phase[HERE - 1] == CONTRIBUTION && !has_checked[h])
inline act(h) {
    if
    :: turn_phase[HERE] == ACKNOWLEDGEMENT && IN(h, KEYHOLDERS) -> take(h, ACKNOWLEDGEMENT, 0)
    :: turn_phase[HERE] == COHORT && h < C -> take(h, COHORT, 0)
    :: turn_phase[HERE] == CONTRIBUTION && h < C && turn_round[HERE] < ROUNDS -> take(h, CONTRIBUTION, 0)
    :: turn_phase[HERE] == OPENING && CHECKS(h) -> take(h, CHECK, turn_round[HERE])
    :: turn_phase[HERE] == OPENING && !CHECKS(h) && IN(h, turn_asked[HERE]) -> take(h, ANSWER, HERE)
    :: else
    fi;
    if
    :: turn_phase[HERE] == OPENING && CHECKS(h) -> has_checked[h] = true
    :: else -> has_checked[h] = false; HERE++
    fi
}

proctype region(byte h) {
end:
    do
    :: d_step { IN(h, connected) && aggregator_runs && HERE <= turn -> act(h) }
    :: d_step { !IN(h, connected) && !IN(h, gone) -> connected = connected | BIT(h) }
#ifdef NO_REPLAY
    /* it crashes between a message and the disk, and does not look at this turn again after the restart */
    :: d_step { IN(h, connected) && downs < DOWN && HERE <= turn ->
                downs++; connected = connected & ~BIT(h); has_checked[h] = false; HERE++ }
#endif
    od
} /* unreached: a region never ends */

#define SILENT (turn_asked[turn] & ~answered)
#define FIT(set) ((set) & cohort & connected)
#define ENOUGH(set) (SIZE(FIT(set)) >= T)
/* board.py, missing; coordinator.py, indispensable */
#define GOES_ON (acknowledged == KEYHOLDERS || WAIT_IS_OVER)
#ifdef NO_WAIT
#define WAIT_IS_OVER false
#else
#define WAIT_IS_OVER (SIZE(acknowledged) >= T && ((CONTRIBUTORS & KEYHOLDERS) & ~acknowledged) == 0)
#endif

/* What the aggregator says of its own accord (coordinator.py, STEPS). Waits may be over at any time. */
proctype aggregator() {
end:
    do
    :: d_step { aggregator_runs && turn_phase[turn] == ACKNOWLEDGEMENT && GOES_ON ->
                cohort = acknowledged; begin_turn(COHORT, 0, 0) }
    :: d_step { aggregator_runs && turn_phase[turn] == CONTRIBUTION && contributed == CONTRIBUTORS && ENOUGH(~slow) ->
                begin_turn(OPENING, FIT(~slow), turn_round[turn]) }
    :: d_step { aggregator_runs && turn_phase[turn] == CONTRIBUTION && contributed == CONTRIBUTORS &&
                !ENOUGH(~slow) && ENOUGH(ALL) ->
                begin_turn(OPENING, FIT(ALL), turn_round[turn]) }
#ifndef NO_SECOND_ATTEMPT
    /* one that was asked is not connected */
    :: d_step { aggregator_runs && turn_phase[turn] == OPENING && (SILENT & ~connected) && ENOUGH(~slow) ->
                begin_turn(OPENING, FIT(~slow), turn_round[turn]) }
    /* one that was asked is silent for longer than the aggregator's patience */
    :: d_step { aggregator_runs && turn_phase[turn] == OPENING && SILENT && !(SILENT & connected) && (SILENT & ~slow) ->
                slow = slow | SILENT }
    :: d_step { aggregator_runs && turn_phase[turn] == OPENING && (SILENT & connected) && lates < LATE ->
                lates++; slow = slow | SILENT;
                if :: ENOUGH(~slow) -> begin_turn(OPENING, FIT(~slow), turn_round[turn]) :: else fi }
#endif
    /* all answered; a wait for check values may be over at once, for readers can compute them themselves */
    :: d_step { aggregator_runs && turn_phase[turn] == OPENING && SILENT == 0 ->
                contributed = 0; checked = 0; begin_turn(CONTRIBUTION, 0, turn_round[turn] + 1) }
    :: d_step { !aggregator_runs -> aggregator_runs = true }
    od
} /* unreached: the aggregator never ends */

/* What happens to them; it may stop at any time. */
proctype world() {
    byte h;
    do
    :: atomic { downs < DOWN && aggregator_runs -> downs++; aggregator_runs = false; slow = 0 }
    :: atomic { downs < DOWN ->
                select(h : 0 .. R - 1);
                if :: IN(h, connected) -> downs++; connected = connected & ~BIT(h) :: else fi;
                h = 0 }
#ifdef SPARE_GOES
    :: d_step { !gone -> gone = BIT(SPARE_GOES); connected = connected & ~gone }
#endif
    :: break
    od
}

/* The last round has ended, and every region that has not gone sees that. */
#define SEES(h) (IN(h, gone) || (acted[h] > turn))
#define ENDED (turn_phase[turn] == CONTRIBUTION && turn_round[turn] == ROUNDS && \
               SEES(0) && SEES(1) && SEES(2) && SEES(R - 1))
ltl ends { <> ENDED }

init {
    byte h;
    atomic {
        turn_phase[0] = ACKNOWLEDGEMENT;
        connected = ALL;
        for (h : 0 .. R - 1) { run region(h) }
        run aggregator();
        run world()
    }
}
