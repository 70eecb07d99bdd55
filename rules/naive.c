/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reference evaluator: the meaning of a pattern, written down as directly as it can be executed. A faster engine must
 * agree with it.
 *
 * Of each `$or` group one branch is chosen, which leaves a flat list of constraints: a field and how much of its dotted path
 * has been walked. `holds` asks whether a subtree of the event satisfies such a list:
 *
 *   object  Each constraint follows the member whose key is the next part of its path; a key may hold dots and so be several
 *           parts. Constraints that follow the same member stay together, different members have nothing to do with
 *           each other, so that sibling arrays cost their sum and not their product.
 *   array   Whatever is required must be found within one element: that is "array consistency". Only scalars that stand in
 *           the array directly satisfy a field that ends here without choosing an element. Absences are asked of the chosen
 *           element, and of every element when nothing is required.
 *   scalar  The field's alternatives.
 *
 * The work list is a stack: each level puts the constraints for the next one on top and takes them off again.
 *
 * One path may be spelled in several ways ({"a.b": 1, "a": {"b": 2}}). Each is tried, and an absence must hold in all. Trying
 * costs budget; when somebody sends an event that is made of such spellings and it is used up, the event does not match.
 */
#include "rules/pattern.h"

#include <string.h>

enum mode {
	REQUIRED, /* an alternative must hold */
	EITHER,   /* or the field must be absent */
	ABSENT,
};

struct constraint {
	const struct sb_field_pattern *field;
	uint32_t off;  /* of the path that is left; beyond its end: the field ends here */
	uint32_t node; /* where it is to be asked next; set with the way there */
	enum mode mode;
};

#define INLINE_CONSTRAINTS 48
/* What trying may cost, in nodes, for each combination of branches: no small event comes near it, no large one is slow. */
#define BUDGET_LEAST 50000
#define BUDGET_EVENTS 64
#define TRIES_MAX 2000 /* nested; each is a few stack frames */

struct match {
	const struct sb_tape *tape;
	struct constraint *work;
	uint32_t n, cap, tries;
	int64_t budget;
	struct constraint first[INLINE_CONSTRAINTS];
};

/* Constraints [from, to) of the work list. Indices, for the list may move when it grows. */
struct span {
	uint32_t from, to;
};

static bool holds(struct match *m, uint32_t node, struct span list);

static void grow(struct match *m)
{
	struct constraint *old = m->work;

	m->cap *= 4;
	m->work = sb_pool_alloc(m->cap * sizeof(*m->work));
	memcpy(m->work, old, m->n * sizeof(*m->work));
	if (old != m->first)
		sb_pool_free(old);
}

static inline struct constraint *push_room(struct match *m)
{
	if (m->n == m->cap)
		grow(m);
	return &m->work[m->n++];
}

static inline void push(struct match *m, struct constraint c)
{
	*push_room(m) = c;
}

static bool ends_here(const struct constraint *c)
{
	return c->off > c->field->path.n;
}

static bool is_scalar(const struct match *m, uint32_t node)
{
	return m->tape->node[node].kind < SB_JSON_ARRAY;
}

/* ------------------------------------------------------------------------------------------------ scalars */

static bool any_alternative(const struct sb_field_pattern *f, enum sb_json_kind kind, struct sb_slice s)
{
	for (uint32_t i = 0; i < f->n; i++)
		if (sb_leaf_holds(&f->leaf[i], kind, s))
			return true;
	return false;
}

/* A decoded string, in `small` or in a block that the caller frees. */
static struct sb_slice decode(struct sb_slice escaped, char *small, size_t size, char **ret_block)
{
	struct sb_buf b = { .p = small, .cap = size, .max = size };

	*ret_block = NULL;
	if (escaped.n > size) {
		*ret_block = sb_pool_alloc(escaped.n);
		b = (struct sb_buf){ .p = *ret_block, .cap = escaped.n, .max = escaped.n };
	}
	sb_json_unescape(escaped, &b); /* never longer than what it was */
	return sb_buf_slice(&b);
}

static bool leaf_holds(const struct match *m, uint32_t node, const struct sb_field_pattern *f)
{
	const struct sb_json_node *n = &m->tape->node[node];
	struct sb_slice s = sb_json_text(m->tape, node);
	char small[256], *block;
	bool r;

	if (!(n->flags & SB_JSON_ESCAPED))
		return any_alternative(f, (enum sb_json_kind)n->kind, s);
	s = decode(s, small, sizeof(small), &block);
	r = any_alternative(f, SB_JSON_STRING, s);
	sb_pool_free(block);
	return r;
}

static bool scalar_holds(const struct match *m, uint32_t node, const struct constraint *c)
{
	if (!ends_here(c))
		return c->mode != REQUIRED;
	return c->mode != ABSENT && leaf_holds(m, node, c->field);
}

/* ------------------------------------------------------------------------------------------------ objects */

/* Bytes of the rest of a path that a member's key takes, without the dot behind them; 0: it leads elsewhere. */
static size_t key_takes(const struct sb_tape *t, uint32_t key, struct sb_slice rest)
{
	const struct sb_json_node *n = &t->node[key];
	struct sb_slice s = sb_json_text(t, key);
	size_t r;
	char small[256], *block = NULL;

	if (n->flags & SB_JSON_ESCAPED) {
		if (s.n / 6 > rest.n)
			return 0;
		s = decode(s, small, sizeof(small), &block);
	}
	r = s.n && s.n <= rest.n && (s.n == rest.n || rest.p[s.n] == '.') && memcmp(s.p, rest.p, s.n) == 0 ? s.n : 0;
	sb_pool_free(block);
	return r;
}

/* Sorts nearly all members out before anything is called. A path has a NUL behind it. */
static inline bool may_lead(const struct sb_tape *t, uint32_t key, struct sb_slice rest)
{
	const struct sb_json_node *n = &t->node[key];

	return (n->len <= rest.n && t->text[n->off] == rest.p[0]) || (n->flags & SB_JSON_ESCAPED);
}

struct way {
	uint32_t value;
	size_t taken; /* 0: there is none */
	bool more;    /* there are longer ones */
};

/* The member with the shortest key that is longer than `longer_than`; of equal keys the last one. */
static struct way find_way(const struct match *m, uint32_t obj, struct sb_slice rest, size_t longer_than)
{
	const struct sb_json_node *node = m->tape->node;
	struct way w = { 0 };

	for (uint32_t k = obj + 1, end = node[obj].next; k < end; k = node[k + 1].next) {
		size_t n;

		if (!may_lead(m->tape, k, rest))
			continue;
		n = key_takes(m->tape, k, rest);
		if (n <= longer_than)
			continue;
		w.more |= w.taken && n != w.taken;
		if (w.taken && n > w.taken)
			continue;
		w.taken = n;
		w.value = k + 1;
	}
	return w;
}

static struct way way_of(const struct match *m, uint32_t obj, const struct constraint *c, size_t longer_than)
{
	struct sb_slice path = c->field->path;

	return find_way(m, obj, sb_slice(path.p + c->off, path.n - c->off), longer_than);
}

static struct constraint along(struct constraint c, const struct way *w)
{
	c.off += (uint32_t)w->taken + 1;
	c.node = w->value;
	return c;
}

/* Constraints from `base` on have been given their members; those of one member are asked together. */
static bool members_hold(struct match *m, uint32_t base)
{
	uint32_t end = m->n;
	bool r = true;

	for (uint32_t i = base; i < end && r; i++) {
		uint32_t node = m->work[i].node, before = base;

		while (m->work[before].node != node)
			before++;
		if (before < i)
			continue;
		for (uint32_t k = i; k < end; k++)
			if (m->work[k].node == node)
				push(m, m->work[k]);
		r = holds(m, node, (struct span){ end, m->n });
		m->n = end;
	}
	return r;
}

static bool pay(struct match *m, uint32_t node)
{
	m->budget -= m->tape->node[node].next - node;
	return m->budget >= 0;
}

static bool members_from(struct match *m, uint32_t obj, struct span list, uint32_t base);

static bool try_ways(struct match *m, uint32_t obj, struct span list, uint32_t base)
{
	struct constraint c = m->work[list.from++];
	uint32_t before = m->n;

	for (struct way w = { .more = c.mode != ABSENT }; w.more;) {
		struct constraint next;

		w = way_of(m, obj, &c, w.taken);
		next = along(c, &w);
		next.mode = REQUIRED;
		push(m, next);
		if (members_from(m, obj, list, base))
			return true;
		m->n = before;
		if (!pay(m, obj))
			return false;
	}
	if (c.mode == REQUIRED)
		return false;
	c.mode = ABSENT;
	for (struct way w = { .more = true }; w.more;) {
		w = way_of(m, obj, &c, w.taken);
		push(m, along(c, &w));
	}
	return members_from(m, obj, list, base);
}

/* The first constraint of the list can follow several members. */
static bool several_ways(struct match *m, uint32_t obj, struct span list, uint32_t base)
{
	bool r = ++m->tries <= TRIES_MAX && try_ways(m, obj, list, base);

	m->tries--;
	return r;
}

static bool members_from(struct match *m, uint32_t obj, struct span list, uint32_t base)
{
	for (; list.from < list.to; list.from++) {
		struct constraint c = m->work[list.from];
		struct way w = { 0 };

		if (!ends_here(&c))
			w = way_of(m, obj, &c, 0);
		if (w.more)
			return several_ways(m, obj, list, base);
		if (!w.taken) {
			if (c.mode == REQUIRED)
				return false;
			continue;
		}
		c = along(c, &w);
		if (!is_scalar(m, w.value))
			push(m, c);
		else if (!scalar_holds(m, w.value, &c))
			return false;
	}
	return members_hold(m, base);
}

/* ------------------------------------------------------------------------------------------------ arrays */

enum direct { NO_SCALAR, SOME_SCALAR, ONE_HOLDS };

static enum direct direct_scalars(const struct match *m, uint32_t array, const struct sb_field_pattern *f)
{
	const struct sb_json_node *node = m->tape->node;
	enum direct r = NO_SCALAR;

	for (uint32_t k = array + 1; k < node[array].next; k = node[k].next) {
		if (!is_scalar(m, k))
			continue;
		if (leaf_holds(m, k, f))
			return ONE_HOLDS;
		r = SOME_SCALAR;
	}
	return r;
}

/* What the array's own scalars leave of a constraint goes on the list; false: they break it. */
static bool ask_scalars(struct match *m, uint32_t array, struct constraint c)
{
	enum direct d = ends_here(&c) ? direct_scalars(m, array, c.field) : NO_SCALAR;

	if (d == ONE_HOLDS && c.mode != ABSENT)
		return true;
	if (d != NO_SCALAR && c.mode == ABSENT)
		return false;
	if (d == SOME_SCALAR)
		c.mode = REQUIRED;
	push(m, c);
	return true;
}

static bool in_one_element(struct match *m, uint32_t array, struct span list)
{
	const struct sb_json_node *node = m->tape->node;

	for (uint32_t k = array + 1; k < node[array].next; k = node[k].next)
		if (!is_scalar(m, k) && holds(m, k, list))
			return true;
	return false;
}

static bool in_every_element(struct match *m, uint32_t array, struct span list)
{
	const struct sb_json_node *node = m->tape->node;

	for (uint32_t k = array + 1; k < node[array].next; k = node[k].next)
		if (!is_scalar(m, k) && !holds(m, k, list))
			return false;
	return true;
}

/* Nothing is required: all may be absent in every element, or one that need not be is present in a chosen one. */
static bool nothing_required(struct match *m, uint32_t array, struct span list)
{
	struct span copy = { list.to, list.to + (list.to - list.from) };

	for (uint32_t i = list.from; i < list.to; i++) {
		push(m, m->work[i]);
		m->work[m->n - 1].mode = ABSENT;
	}
	if (in_every_element(m, array, copy))
		return true;
	for (uint32_t i = list.from; i < list.to; i++) {
		bool r;

		if (m->work[i].mode != EITHER)
			continue;
		m->work[i].mode = REQUIRED;
		r = in_one_element(m, array, list);
		m->work[i].mode = EITHER;
		if (r)
			return true;
	}
	return false;
}

static uint32_t count_required(const struct match *m, struct span list)
{
	uint32_t n = 0;

	for (uint32_t i = list.from; i < list.to; i++)
		n += m->work[i].mode == REQUIRED;
	return n;
}

/*
 * A scalar satisfied `c`, and an absence failed beside it. An element that satisfies `c` too may be one where it does not.
 */
static bool choose_element_for(struct match *m, uint32_t array, struct constraint c, struct span left)
{
	if (count_required(m, left) == left.to - left.from || !pay(m, array))
		return false;
	c.mode = REQUIRED;
	push(m, c);
	return in_one_element(m, array, (struct span){ left.from, m->n });
}

static bool array_holds(struct match *m, uint32_t array, struct span list)
{
	struct span left = { m->n, m->n };
	uint32_t by_scalar = UINT32_MAX; /* one at most: a pattern constrains a path once */

	for (uint32_t i = list.from; i < list.to; i++) {
		uint32_t before = m->n;

		if (!ask_scalars(m, array, m->work[i]))
			return false;
		if (m->n == before)
			by_scalar = i;
	}
	left.to = m->n;
	if (left.from == left.to)
		return true;
	if (count_required(m, left) ? in_one_element(m, array, left) : nothing_required(m, array, left))
		return true;
	m->n = left.to;
	return by_scalar != UINT32_MAX && choose_element_for(m, array, m->work[by_scalar], left);
}

/* ------------------------------------------------------------------------------------------------ patterns */

static bool holds(struct match *m, uint32_t node, struct span list)
{
	uint32_t before = m->n;
	bool r = true;

	if (m->tape->node[node].kind == SB_JSON_OBJECT)
		r = members_from(m, node, list, m->n);
	else if (m->tape->node[node].kind == SB_JSON_ARRAY)
		r = array_holds(m, node, list);
	else
		for (uint32_t i = list.from; i < list.to && r; i++)
			r = scalar_holds(m, node, &m->work[i]);
	m->n = before;
	return r;
}

static void push_fields(struct match *m, const struct sb_pattern *p)
{
	for (uint32_t i = 0; i < p->n_fields; i++) {
		const struct sb_field_pattern *f = &p->field[i];
		struct constraint *c = push_room(m);

		c->field = f;
		c->off = 0;
		c->mode = !f->absent ? REQUIRED : f->n ? EITHER : ABSENT;
	}
}

static bool ask_root(struct match *m, struct span list)
{
	m->tries = 0;
	m->budget = BUDGET_LEAST + (int64_t)m->tape->n * BUDGET_EVENTS;
	return holds(m, 0, list);
}

/* What is required now stays required whatever is chosen later; an absence may come true by an element chosen later. */
static bool still_possible(struct match *m)
{
	uint32_t n = m->n;
	bool r;

	for (uint32_t i = 0; i < n; i++)
		if (m->work[i].mode == REQUIRED)
			push(m, m->work[i]);
	r = ask_root(m, (struct span){ n, m->n });
	m->n = n;
	return r;
}

/* Groups that still wait for a choice: of this pattern from `group` on, then those of the patterns around it. */
struct waiting {
	const struct sb_pattern *p;
	uint32_t group;
	const struct waiting *up;
};

static bool choose(struct match *m, const struct waiting *w)
{
	const struct sb_or_group *g;
	uint32_t before = m->n;

	while (w && w->group == w->p->n_groups)
		w = w->up;
	if (!w)
		return ask_root(m, (struct span){ 0, m->n });
	if (!still_possible(m))
		return false;
	g = &w->p->group[w->group];
	for (uint32_t i = 0; i < g->n; i++) {
		struct waiting after = { w->p, w->group + 1, w->up };
		struct waiting inside = { &g->branch[i], 0, &after };
		bool r;

		push_fields(m, &g->branch[i]);
		r = choose(m, &inside);
		m->n = before;
		if (r)
			return true;
	}
	return false;
}

bool sb_pattern_match(const struct sb_pattern *p, const struct sb_tape *event)
{
	struct match m;
	struct waiting all = { p, 0, NULL };
	bool r;

	if (event->n == 0 || event->node[0].kind != SB_JSON_OBJECT)
		return false;
	m.tape = event;
	m.work = m.first;
	m.cap = INLINE_CONSTRAINTS;
	m.n = 0;
	push_fields(&m, p);
	r = choose(&m, &all);
	if (m.work != m.first)
		sb_pool_free(m.work);
	return r;
}
