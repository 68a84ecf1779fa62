#ifndef CONEY_PERF_SETUP_H
#define CONEY_PERF_SETUP_H

#include "perf/run.h"

/*
 * Declares and binds what the run needs, opens all connections and gives them to the workers.
 * False, with the run's error set, when that fails.
 */
MUST_USE bool setup_run(struct run *run);

#endif
