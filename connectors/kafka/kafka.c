/* SPDX-License-Identifier: Apache-2.0 */
#include "connectors/connector.h"
#include "target.h"

const struct sb_connector sb_connector_kafka = {
	.type = "kafka",
	.summary = "records of a Kafka topic, with key and headers",
	.target = &kafka_target_ops,
};
