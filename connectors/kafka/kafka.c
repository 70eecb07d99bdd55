/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/connector.h"
#include "source.h"
#include "target.h"

const struct sb_connector sb_connector_kafka = {
	.type = "kafka",
	.summary = "records of a Kafka topic, with key and headers",
	.source = &kafka_source_ops,
	.target = &kafka_target_ops,
};
