/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_JOURNAL_MEND_H
#define SB_JOURNAL_MEND_H

#include "broker/journal/segment.h"

/* What recovery is going to do to files: noted while it reads, done when everything was read and is known to be ours. */
enum sb_mend_what {
	SB_MEND_HEADER,    /* one copy is good: written over the other */
	SB_MEND_KEEP_COPY, /* as it is, but for zeros at its end, in quarantine/, for whoever looks at it later; the original goes on serving */
	SB_MEND_SET_ASIDE, /* moved to quarantine/, without the zeros at its end */
};

struct sb_mend {
	struct sb_mend_item {
		enum sb_mend_what what;
		uint64_t number;
	} *item; /* only damaged segments: a few */
	size_t n;
	uint64_t cut_number, cut_at; /* 0: nothing to cut */
};

void sb_mend_note(struct sb_mend *m, enum sb_mend_what what, uint64_t number);
void sb_mend_cut(struct sb_mend *m, uint64_t number, uint64_t end); /* the torn tail of the newest segment */
/* -1: a segment could not be set aside, or the tail not be cut. What only makes things better may fail. */
int sb_mend_all(struct sb_vfs *vfs, const char *dir, const struct sb_mend *m, struct sb_err *err);
void sb_mend_done(struct sb_mend *m);

#endif
