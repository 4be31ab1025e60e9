"""The other toolkits, made to do the same work as Regard; none of them is needed to use Regard."""
