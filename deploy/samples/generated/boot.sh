#!/bin/sh
echo "started by cloud-init" > /var/log/boot.txt
