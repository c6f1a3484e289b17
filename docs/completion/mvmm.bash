# SPDX-License-Identifier: Apache-2.0
# bash completion for mvmm
# shellcheck shell=bash disable=SC2207

# Keys and values of one --disk, after its last comma.
_mvmm_disk() {
	local cur=$1 head words limit
	if [[ $cur != *,* ]]; then
		COMPREPLY=($(compgen -f -- "$cur"))
		return
	fi
	head=${cur%,*},
	words="readonly serial= cache=none cache=writeback cache=unsafe aio=native aio=threads
		overlay=temp overlay=temp: queues= queue-size= aio-depth= poll-max-us= block-size=512 block-size=4096 cpu=
		group= on-error=report on-error=stop on-error=enospc"
	for limit in iops iops-rd iops-wr bps bps-rd bps-wr; do
		words+=" $limit= $limit-max= $limit-max-length="
	done
	COMPREPLY=($(compgen -P "$head" -W "$words" -- "${cur##*,}"))
}

_mvmm() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local run="--kernel --initrd --append --no-default-append --memory --prefault --hugepages --cpus
		--vcpu-affinity --disk --transport
		--mmio-cmdline --mmio-isr --timeout --on-reboot --debug-exit --console --panic-match --result
		--control --allow --name --sandbox --verbose --dry-run --help"
	local bench="--disk --rw --bs --depth --time --complete --transport --mmio-isr --cpus --vcpu-affinity
		--json --sandbox --verbose --help"
	local check="--json --device --help"
	local ctl="vm pause resume power-button reset quit disk metrics --json --timeout --help"

	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		COMPREPLY=($(compgen -W "run bench check ctl --version --help" -- "$cur"))
		return
	fi
	case $prev in
	--kernel | --initrd | --result | --device | --control | ctl) COMPREPLY=($(compgen -f -- "$cur")) ;;
	--allow) COMPREPLY=($(compgen -d -- "$cur")) ;;
	--disk) _mvmm_disk "$cur" ;;
	--transport) COMPREPLY=($(compgen -W "pci mmio" -- "$cur")) ;;
	--mmio-isr) COMPREPLY=($(compgen -W "page exit" -- "$cur")) ;;
	--sandbox) COMPREPLY=($(compgen -W "on off strict" -- "$cur")) ;;
	--on-reboot) COMPREPLY=($(compgen -W "exit restart" -- "$cur")) ;;
	--console) COMPREPLY=($(compgen -W "stdio none file:" -- "$cur")) ;;
	--rw) COMPREPLY=($(compgen -W "randread randwrite randrw read write" -- "$cur")) ;;
	--complete) COMPREPLY=($(compgen -W "irq busy poll" -- "$cur")) ;;
	disk) COMPREPLY=($(compgen -W "list show limit on-error resize add remove mirror backup commit" -- "$cur")) ;;
	mirror) COMPREPLY=($(compgen -W "start status speed complete cancel" -- "$cur")) ;;
	backup) COMPREPLY=($(compgen -W "start status speed cancel" -- "$cur")) ;;
	commit) COMPREPLY=($(compgen -W "status speed cancel" -- "$cur")) ;;
	--bs | --depth | --time | --vcpu-affinity) ;;
	--append | --memory | --cpus | --timeout | --panic-match | --name) ;;
	*)
		case ${COMP_WORDS[1]} in
		run) COMPREPLY=($(compgen -W "$run" -- "$cur")) ;;
		bench) COMPREPLY=($(compgen -W "$bench" -- "$cur")) ;;
		check) COMPREPLY=($(compgen -W "$check" -- "$cur")) ;;
		ctl) COMPREPLY=($(compgen -W "$ctl" -- "$cur")) ;;
		esac
		;;
	esac
}

complete -o filenames -F _mvmm mvmm
