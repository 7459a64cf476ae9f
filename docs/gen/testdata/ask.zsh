# ask.zsh DIR LINE: prints what zsh would offer at the end of LINE, asked for by a tab key in
# a terminal of its own; DIR has the completion.
zmodload zsh/zpty
rc=$(mktemp)
cat >$rc <<END
fpath=(${(q)1} \$fpath)
autoload -U compinit; compinit -u -D
# Whatever is found goes through compadd. There it is noted, unless it is for an array.
compadd() {
	local -a now
	if (( ! \${@[(I)-[OAD]]} )); then
		builtin compadd -O now "\$@"
		found+=(\$now)
	fi
	builtin compadd "\$@"
}
ask() { found=(); zle complete-word; print -rl -- BEGIN \$found END; exit }
zle -N ask
bindkey '^I' ask
print REA''DY
END
zpty z zsh -f -i
zpty -w z ". $rc"
while zpty -r z line && [[ $line != READY* ]]; do :; done
zpty -w -n z "$2"$'\t'
while zpty -r z line; do
	line=${line%$'\r\n'}
	case $line in
	(*BEGIN) on=1 ;;
	(END) break ;;
	(*) [[ -z $on ]] || print -r -- "$line" ;;
	esac
done
zpty -d z
rm -f $rc
