/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_CONFORMANCE_FAULTY_H
#define SB_TESTS_CONFORMANCE_FAULTY_H

#include "stage.h"

/*
 * Connectors that are broken on purpose, one fault at a time: the suite must catch each of them, by the check that is
 * meant for it and for the right reason. Fault 0 is none: then every check must pass.
 */
struct fault {
	const char *what;  /* it does */
	const char *check; /* that finds it */
	const char *says;  /* part of the violation */
	bool by_absence;   /* it shows in what does not come: that is not waited for long */
};

struct faulty {
	const struct row *row;
	const struct fault *fault; /* [0] is none; what NULL: not this one's */
	unsigned n;
	unsigned *chosen; /* index of the one it has */
	bool target;
};

extern const struct faulty faulty_target, faulty_push_source, faulty_pull_source;

#endif
