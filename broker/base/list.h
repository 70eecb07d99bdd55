/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_LIST_H
#define SB_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Intrusive circular doubly linked list. A head is a link that no object owns; a link that is on no list points to
 * itself, so that unlinking twice is harmless.
 */
struct sb_link {
	struct sb_link *prev, *next;
};

static inline void sb_list_init(struct sb_link *l)
{
	l->prev = l->next = l;
}

static inline bool sb_list_empty(const struct sb_link *head)
{
	return head->next == head;
}

static inline void sb_list_insert_before(struct sb_link *at, struct sb_link *l)
{
	l->prev = at->prev;
	l->next = at;
	at->prev->next = l;
	at->prev = l;
}

static inline void sb_list_push_back(struct sb_link *head, struct sb_link *l)
{
	sb_list_insert_before(head, l);
}

static inline void sb_list_push_front(struct sb_link *head, struct sb_link *l)
{
	sb_list_insert_before(head->next, l);
}

static inline void sb_list_unlink(struct sb_link *l)
{
	l->prev->next = l->next;
	l->next->prev = l->prev;
	sb_list_init(l);
}

/* NULL when empty. */
static inline struct sb_link *sb_list_pop_front(struct sb_link *head)
{
	struct sb_link *l = head->next;

	if (l == head)
		return NULL;
	sb_list_unlink(l); /* NOLINT(clang-analyzer-unix.Malloc): after it the head no longer points at what a caller frees */
	return l;
}

#endif
