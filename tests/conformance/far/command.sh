#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The far side of `function` with exec: does what the file `act` says, leaves what it takes in a file of its own.
case $(cat "$1/act") in
takes) cat >"$1/part.$$" && mv "$1/part.$$" "$1/got.$$" ;;
fails) exit 1 ;;
rejects) exit 65 ;;
stalls) exec sleep 1000 ;;
*) exit 1 ;;
esac
