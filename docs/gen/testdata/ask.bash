#!/usr/bin/env bash
# ask.bash COMPLETION LINE: prints what bash would offer at the end of LINE, as readline asks
# for it: COMP_WORDS are split at blanks, and around = and : as well.
# shellcheck source=/dev/null
source "$1" || exit
COMP_LINE=$2 COMP_POINT=${#2}
COMP_WORDS=() word=''
for ((i = 0; i < ${#2}; i++)); do
	c=${2:i:1}
	case $c in
	' ')
		[[ -z $word ]] || COMP_WORDS+=("$word")
		word=''
		;;
	[=:])
		[[ -z $word || $word == [=:]* ]] || COMP_WORDS+=("$word") word=''
		word+=$c
		;;
	*)
		[[ $word != [=:]* ]] || COMP_WORDS+=("$word") word=''
		word+=$c
		;;
	esac
done
COMP_WORDS+=("$word")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_staves
printf '%s\n' "${COMPREPLY[@]}"
