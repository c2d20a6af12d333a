/* Where the threads of a team run: beside their master, not behind it.

   Linux may wake a sleeping thread on the CPU of its waker although another one is free (virtual machines do so on
   purpose, to leave CPUs to others), and its balancer takes tens of milliseconds to part the two. A call on two threads
   then takes as long as on one. So every other thread of a team leaves the master's CPU out of the set that it may run
   on, which costs a comparison a call until the master itself is moved. The scheduler still has all other CPUs to
   choose from, and a set that somebody else changes meanwhile is kept to. */
#ifndef FC_PLACEMENT_H
#define FC_PLACEMENT_H

#if defined(_OPENMP) && defined(__linux__)
#include <omp.h>
#include <sched.h>
#include <time.h>

/* Where more threads are busy than there are CPUs the master moves often; following costs one more region. */
#define FC_SECONDS_BETWEEN_MOVES 1e-3

/* Called by one thread of a team: run anywhere but on this CPU. */
static void fc_leave_cpu(int cpu) {
    static _Thread_local cpu_set_t given, reduced; /* by whoever started or bound the thread, and by us */
    cpu_set_t found;
    if (sched_getaffinity(0, sizeof found, &found) != 0) return;
    if (!CPU_EQUAL(&found, &reduced)) given = found;
    reduced = given;
    CPU_CLR(cpu, &reduced);
    if (CPU_COUNT(&reduced) == 0) reduced = given;
    if (!CPU_EQUAL(&found, &reduced)) sched_setaffinity(0, sizeof reduced, &reduced);
}

/* Called by the thread that is about to start a team of so many. */
static void fc_place_team(int team) {
    static _Thread_local int master_cpu = -1, placed;
    static _Thread_local double last;
    struct timespec clock;
    double now;
    int cpu;
    if (team < 2) return;
    cpu = sched_getcpu();
    if ((cpu == master_cpu && team == placed) || cpu < 0 || cpu >= CPU_SETSIZE) return;
    clock_gettime(CLOCK_MONOTONIC, &clock);
    now = (double)clock.tv_sec + 1e-9 * (double)clock.tv_nsec;
    if (now - last < FC_SECONDS_BETWEEN_MOVES || omp_get_proc_bind() != omp_proc_bind_false) return;
    last = now;
    master_cpu = cpu;
    placed = team;
    #pragma omp parallel num_threads(team)
    if (omp_get_thread_num() > 0) fc_leave_cpu(cpu);
}
#else
static void fc_place_team(int team) { (void)team; }
#endif
#endif
