#include "tests/unit/table_check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "uploader/base/cleanup.h"

#define UNITS(class) (1U << (class))

static char fault[256];

static __attribute__((format(printf, 1, 2))) const char *say(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	vsnprintf(fault, sizeof(fault), format, list);
	va_end(list);
	return fault;
}

/* What was found out about each slot. */
struct survey {
	const struct table *table;
	const struct table_rules *rules;
	const struct table_counts *counts;
	uint8_t *node_free, *hashed, *handle_free, *units;
	uint32_t *children, *opens, *writers;
	uint64_t names_seen; /* units */
};

static void survey_done(struct survey *survey)
{
	free(survey->node_free);
	free(survey->hashed);
	free(survey->handle_free);
	free(survey->units);
	free(survey->children);
	free(survey->opens);
	free(survey->writers);
}

static struct survey survey_new(const struct table *table, const struct table_rules *rules)
{
	const struct table_counts *counts = &table->header->counts;

	return (struct survey){.table = table,
		.rules = rules,
		.counts = counts,
		.node_free = calloc(counts->nodes_used, 1),
		.hashed = calloc(counts->nodes_used, 1),
		.handle_free = calloc(counts->handles_used, 1),
		.units = calloc(counts->names_used, 1),
		.children = calloc(counts->nodes_used, sizeof(uint32_t)),
		.opens = calloc(counts->nodes_used, sizeof(uint32_t)),
		.writers = calloc(counts->nodes_used, sizeof(uint32_t))};
}

static bool is_live(const struct survey *survey, uint32_t slot)
{
	return slot != NODE_NONE && slot < survey->counts->nodes_used && !survey->node_free[slot];
}

static const char *walk_free_lists(struct survey *survey)
{
	const struct table *table = survey->table;

	for (uint32_t slot = survey->counts->node_free; slot; slot = table->nodes[slot].hash_next) {
		if (slot <= NODE_ROOT_SLOT || slot >= survey->counts->nodes_used)
			return say("the list of free nodes leads to %u", slot);
		if (survey->node_free[slot]++)
			return say("node %u is free twice", slot);
	}
	for (uint32_t slot = survey->counts->handle_free; slot; slot = table->handles[slot].next) {
		if (slot >= survey->counts->handles_used)
			return say("the list of free handles leads to %u", slot);
		if (survey->handle_free[slot]++)
			return say("handle %u is free twice", slot);
		if (table->handles[slot].node)
			return say("handle %u is free and open", slot);
	}
	return NULL;
}

/* Takes units of the names' region for one purpose. */
static const char *take_units(
	struct survey *survey, uint32_t at, unsigned int class, const char *whose, uint32_t slot)
{
	if (at == 0 || at + UNITS(class) > survey->counts->names_used)
		return say("%s %u: name at %u, outside of the region", whose, slot, at);
	for (uint32_t i = 0; i < UNITS(class); i++) {
		if (survey->units[at + i]++)
			return say("%s %u: unit %u of the names is used twice", whose, slot, at + i);
	}
	survey->names_seen += UNITS(class);
	return NULL;
}

static unsigned int class_for(size_t bytes)
{
	unsigned int class = 0;

	while ((size_t)NAME_UNIT << class < bytes)
		class ++;
	return class;
}

static const char *check_name(struct survey *survey, uint32_t slot)
{
	const struct node *node = &survey->table->nodes[slot];
	bool is_attributes = node->flags & NODE_HAS_ATTRIBUTES;

	if (!node->name)
		return node->parent || is_attributes ? say("node %u has a parent and no name", slot) : NULL;
	if (!is_attributes != (node->parent != NODE_NONE))
		return say("node %u: parent %u, but %s", slot, node->parent, is_attributes ? "attributes" : "a name");
	const char *name = survey->table->names + (size_t)node->name * NAME_UNIT;
	size_t size = is_attributes ? sizeof(struct stat) : strnlen(name, NAME_MAX + 1) + 1;

	if (size == 1 || size > NAME_MAX + 1)
		return say("node %u: a name of %zu bytes", slot, size);
	return take_units(survey, node->name, class_for(size), "node", slot);
}

static const char *check_free_names(struct survey *survey)
{
	for (unsigned int class = 0; class < NAME_CLASSES; class ++) {
		uint32_t at = survey->counts->name_free[class];

		while (at) {
			const char *wrong = take_units(survey, at, class, "free list", class);

			if (wrong)
				return wrong;
			memcpy(&at, survey->table->names + (size_t)at * NAME_UNIT, sizeof(at));
		}
	}
	/* Unit 0 is no name. */
	if (survey->names_seen + 1 != survey->counts->names_used)
		return say("%u units of names are used, %llu accounted for", survey->counts->names_used,
			(unsigned long long)survey->names_seen + 1);
	return NULL;
}

/* A chain is walked once for each of its nodes, but counted for that node alone. */
static const char *check_chain(struct survey *survey, uint32_t slot)
{
	const struct table *table = survey->table;
	const struct node *node = &table->nodes[slot];
	uint32_t steps = 0;

	for (uint32_t at = *table_bucket(table, node->dev, node->ino); at; at = table->nodes[at].hash_next) {
		if (!is_live(survey, at) || ++steps > survey->counts->nodes_used)
			return say("the chain of node %u leads to %u", slot, at);
		if (table_bucket(table, table->nodes[at].dev, table->nodes[at].ino) !=
			table_bucket(table, node->dev, node->ino))
			return say("node %u is in the chain of %u", at, slot);
		survey->hashed[slot] = (uint8_t)(survey->hashed[slot] + (at == slot));
	}
	if (survey->hashed[slot] == 0 && !(survey->rules->may_be_hidden && survey->rules->may_be_hidden(node)))
		return say("node %u is in no chain", slot);
	if (survey->hashed[slot] > 1)
		return say("node %u is %d times in its chain", slot, survey->hashed[slot]);
	return NULL;
}

static const char *check_ancestors(const struct survey *survey, uint32_t slot)
{
	uint32_t steps = 0;

	for (uint32_t at = slot; at; at = survey->table->nodes[at].parent) {
		if (!is_live(survey, at))
			return say("node %u: its ancestor %u is free", slot, at);
		if (++steps > survey->counts->nodes_used)
			return say("node %u is its own ancestor", slot);
		/* Further up it was looked at from there. */
		if (at < slot)
			break;
	}
	return NULL;
}

static const char *check_handles(struct survey *survey)
{
	uint64_t live = 0;

	for (uint32_t slot = 1; slot < survey->counts->handles_used; slot++) {
		const struct handle *handle = &survey->table->handles[slot];

		if (survey->handle_free[slot])
			continue;
		if (!is_live(survey, handle->node))
			return say("handle %u is of node %u, which is free", slot, handle->node);
		live++;
		survey->opens[handle->node]++;
		survey->writers[handle->node] += (handle->flags & survey->rules->writing) != 0;
	}
	return live == survey->counts->handles ? NULL
					       : say("%llu handles, counted %llu", (unsigned long long)live,
							 (unsigned long long)survey->counts->handles);
}

static const char *check_node(struct survey *survey, uint32_t slot)
{
	const struct node *node = &survey->table->nodes[slot];

	if (node->children != survey->children[slot])
		return say("node %u: %u children, counted %u", slot, survey->children[slot], node->children);
	if (node->opens != survey->opens[slot])
		return say("node %u: %u handles, counted %u", slot, survey->opens[slot], node->opens);
	if (node->writers != survey->writers[slot])
		return say("node %u: %u writers, counted %u", slot, survey->writers[slot], node->writers);
	if (!node->lookups && !node->children && !node->opens && !survey->rules->may_be_unreferenced)
		return say("node %u is nobody's", slot);
	const char *wrong = check_name(survey, slot);

	if (!wrong)
		wrong = check_chain(survey, slot);
	return wrong ? wrong : check_ancestors(survey, slot);
}

static const char *check_nodes(struct survey *survey)
{
	uint64_t live = 0, writers = 0;

	for (uint32_t slot = NODE_ROOT_SLOT; slot < survey->counts->nodes_used; slot++) {
		uint32_t parent = survey->table->nodes[slot].parent;

		if (!is_live(survey, slot))
			continue;
		if (parent && !is_live(survey, parent))
			return say("node %u: its parent %u is free", slot, parent);
		survey->children[parent]++;
	}
	for (uint32_t slot = NODE_ROOT_SLOT; slot < survey->counts->nodes_used; slot++) {
		const char *wrong = is_live(survey, slot) ? check_node(survey, slot) : NULL;

		if (wrong)
			return wrong;
		live += is_live(survey, slot);
		writers += is_live(survey, slot) && survey->table->nodes[slot].writers > 0;
	}
	if (live != survey->counts->nodes)
		return say("%llu nodes, counted %llu", (unsigned long long)live,
			(unsigned long long)survey->counts->nodes);
	return writers == survey->counts->writers
		       ? NULL
		       : say("%llu nodes with writers, counted %llu", (unsigned long long)writers,
				 (unsigned long long)survey->counts->writers);
}

const char *table_find_fault(const struct table *table, const struct table_rules *rules)
{
	_cleanup_(survey_done) struct survey survey = survey_new(table, rules);
	const char *wrong = table->undo->n ? say("%u changes are not committed", table->undo->n) : NULL;

	if (!wrong)
		wrong = walk_free_lists(&survey);
	if (!wrong)
		wrong = check_handles(&survey);
	if (!wrong)
		wrong = check_nodes(&survey);
	return wrong ? wrong : check_free_names(&survey);
}

static const char *compare_node(const struct table *table, const struct table *other, uint32_t slot)
{
	const struct node *one = &table->nodes[slot], *two = &other->nodes[slot];
	size_t at = (size_t)one->name * NAME_UNIT;

	if (memcmp(one, two, NODE_BYTES) != 0)
		return say("node %u differs: lookups %llu, %llu; parent %u, %u; name %u, %u", slot,
			(unsigned long long)one->lookups, (unsigned long long)two->lookups, one->parent, two->parent,
			one->name, two->name);
	if (*table_bucket(table, one->dev, one->ino) != *table_bucket(other, one->dev, one->ino))
		return say("the chain of node %u begins elsewhere", slot);
	if (one->flags & NODE_HAS_ATTRIBUTES)
		return memcmp(table->names + at, other->names + at, sizeof(struct stat)) == 0
			       ? NULL
			       : say("node %u has other attributes", slot);
	if (at && strcmp(table->names + at, other->names + at) != 0)
		return say("node %u is \"%.40s\", was \"%.40s\"", slot, table->names + at, other->names + at);
	return NULL;
}

const char *table_find_difference(const struct table *table, const struct table *other)
{
	const struct table_counts *counts = &table->header->counts, *others = &other->header->counts;

	if (memcmp(counts, others, sizeof(*counts)) != 0)
		return say("counts differ: nodes %llu, %llu; handles %llu, %llu; writers %llu, %llu; names %u, %u",
			(unsigned long long)counts->nodes, (unsigned long long)others->nodes,
			(unsigned long long)counts->handles, (unsigned long long)others->handles,
			(unsigned long long)counts->writers, (unsigned long long)others->writers, counts->names_used,
			others->names_used);
	for (uint32_t slot = NODE_ROOT_SLOT; slot < counts->nodes_used; slot++) {
		const char *wrong = compare_node(table, other, slot);

		if (wrong)
			return wrong;
	}
	if (memcmp(table->handles, other->handles, counts->handles_used * sizeof(struct handle)) != 0)
		return say("the handles differ");
	for (unsigned int class = 0; class < NAME_CLASSES; class ++) {
		uint32_t at = counts->name_free[class], next = at;

		while (at) {
			memcpy(&at, table->names + (size_t)at * NAME_UNIT, sizeof(at));
			memcpy(&next, other->names + (size_t)next * NAME_UNIT, sizeof(next));
			if (at != next)
				return say("the free names differ");
		}
	}
	for (size_t i = 0; i < INFLIGHTS; i++) {
		if (memcmp(&table->inflights[i], &other->inflights[i], INFLIGHT_HEAD_BYTES) != 0)
			return say("record %zu differs", i);
	}
	return NULL;
}
